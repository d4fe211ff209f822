"""One run on 1 and 8 fake devices, moved from 8 to 4 to 1, and on 2 processes: the same batches, the same losses."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import QUICK
from tiny_experiment import config_in, write_data

from tokjax.training.checkpoints import read
from tokjax.training.loop import Run
from tokjax.training.saved_steps import finished_steps
from tokjax.training.telemetry import read_metrics
from tokjax.training.workdir import lock_workdir

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LAST = 6


def start(devices: int, *command: object, cwd: Path | None = None) -> subprocess.Popen:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices} {QUICK}"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *map(str, command)], cwd=cwd, env=environment, **pipes)


def train(data: Path, workdir: Path, devices: int, *overrides: str) -> dict:
    process = start(devices, HERE / "training_process.py", data, workdir, *overrides)
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    found = json.loads(out.splitlines()[-1])
    assert found["devices"] == devices
    return found


def mesh(data: int, fsdp: int = 1, context: int = 1) -> tuple[str, ...]:
    return f"--config.mesh.data={data}", f"--config.mesh.fsdp={fsdp}", f"--config.mesh.context={context}"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("devices") / "data")


@pytest.fixture(scope="module")
def one(data, tmp_path_factory):
    return train(data, tmp_path_factory.mktemp("one") / "run", 1)


@pytest.fixture(scope="module")
def eight(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("eight") / "run"
    return workdir, train(data, workdir, 8, *mesh(2, fsdp=2, context=2))


def assert_same_run(found: dict, one: dict) -> None:
    assert found["ids"] == one["ids"][found["start"] :]
    assert len(one["losses"]) == LAST
    np.testing.assert_allclose(found["losses"], one["losses"], rtol=1e-4)


@pytest.mark.slow
def test_data_fsdp_and_context_give_the_losses_of_one_device(eight, one):
    assert one["split"] == 0 and eight[1]["split"] > 5
    assert_same_run(eight[1], one)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [{"data": 8}, {"data": 2, "fsdp": 4}])
def test_other_meshes_give_the_losses_of_one_device(data, one, tmp_path, sizes):
    assert_same_run(train(data, tmp_path / "run", 8, *mesh(**sizes)), one)


@pytest.mark.slow
def test_a_run_moves_from_8_devices_to_4_and_to_1(data, eight, one, tmp_path):
    workdir = shutil.copytree(eight[0], tmp_path / "run")
    for step in (4, 6):
        shutil.rmtree(workdir / "checkpoints" / str(step))
    four = train(data, workdir, 4, *mesh(2, fsdp=2), "--config.training.steps=4")
    assert (four["start"], four["ids"]) == (2, one["ids"][2:4])
    np.testing.assert_allclose(four["losses"], one["losses"][:4], rtol=1e-4)
    last = train(data, workdir, 1)
    assert last["start"] == 4
    assert_same_run(last, one)


def start_two(data: Path, workdir: Path, *overrides: str, variant: str = "wide", devices: int = 1) -> list[subprocess.Popen]:
    """Two processes of so many devices each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    command = ["-m", "tokjax.cli", "train", "--config", ROOT / "tests" / f"tiny_experiment.py:{variant}", "--workdir", workdir]
    command += ["--coordinator", address, "--processes", 2, *overrides]
    return [start(devices, *command, "--process-id", index, cwd=data) for index in (0, 1)]


def said(process: subprocess.Popen) -> list[str]:
    """Its lines, after it has ended; those of the library that connects the processes are left out."""
    out, _ = process.communicate(timeout=300)
    return [line for line in out.splitlines() if not line.startswith("[Gloo]")]


@pytest.mark.slow
def test_two_processes_train_a_small_model_and_its_codebook_as_one_does(data, tmp_path):
    """The codes are moving averages over the whole batch, of which each process has half."""
    processes = start_two(data, tmp_path / "two", "--config.training.steps=3", variant="codes")
    config = config_in(data, "codes")
    config.training.steps = 3
    with lock_workdir(tmp_path / "one"):
        Run(config, tmp_path / "one").train()
    spoken, _ = (said(process) for process in processes)
    assert [process.returncode for process in processes] == [0, 0], spoken
    assert "2 device(s)" in spoken[0]
    two, one = (read_metrics(tmp_path / name) for name in ("two", "one"))
    for name in ("loss", "commitment", "codebook_perplexity", "gradient_norm"):
        np.testing.assert_allclose([row[name] for row in two], [row[name] for row in one], rtol=1e-4, err_msg=name)
    books = [read(tmp_path / name / "checkpoints", 3, ("model_state",))[1]["model_state"]["codebook"] for name in ("two", "one")]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *books)
    assert any(leaf.std() > 0.1 for leaf in jax.tree.leaves(books[0]))


@pytest.mark.slow
def test_two_processes_of_4_devices_are_one_of_8(data, eight, tmp_path):
    """The same mesh, with the first axis between the processes: the same losses and the same parameters."""
    processes = start_two(data, tmp_path, *mesh(2, fsdp=2, context=2), devices=4)
    spoken, _ = (said(process) for process in processes)
    assert [process.returncode for process in processes] == [0, 0], spoken
    assert "8 device(s)" in spoken[0]
    np.testing.assert_allclose([row["loss"] for row in read_metrics(tmp_path)], eight[1]["losses"], rtol=1e-5)
    two, one = (read(path / "checkpoints", LAST, ("params",))[1]["params"] for path in (tmp_path, eight[0]))
    for (path, mine), theirs in zip(jax.tree_util.tree_leaves_with_path(two), jax.tree.leaves(one), strict=True):
        if [part.key for part in path[-2:]] != ["k", "bias"]:  # softmax takes no notice of it: its gradient is rounding alone
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5, err_msg=jax.tree_util.keystr(path))


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one_and_stop_together(data, one, tmp_path):
    first, second = start_two(data, tmp_path, "--config.training.steps=100000")
    while (line := first.stdout.readline()) and f"step      {LAST}/" not in line:
        pass
    second.send_signal(signal.SIGTERM)
    spoken, silent = said(first), said(second)
    assert [first.returncode, second.returncode] == [75, 75], spoken
    step = int(re.fullmatch(r"stopped at step (\d+) and saved; .*", spoken[-1]).group(1))
    assert silent == []
    assert finished_steps(tmp_path / "checkpoints")[-1] == step >= LAST
    rows = read_metrics(tmp_path)
    assert [row["step"] for row in rows] == list(range(1, step + 1))
    np.testing.assert_allclose([row["loss"] for row in rows][:LAST], one["losses"], rtol=1e-4)
    first, second = start_two(data, tmp_path, f"--config.training.steps={step + 1}")
    spoken, silent = said(first), said(second)
    assert [first.returncode, second.returncode] == [0, 0], spoken
    assert spoken[0].startswith(f"resuming at step {step}:") and spoken[-1] == f"finished at step {step + 1}"
