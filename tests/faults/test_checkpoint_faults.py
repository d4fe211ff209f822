"""What must not lose a run: kill -9 at any moment, damaged files, a full disk. Real processes, real signals, real bytes."""

import logging
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from saving_process import VALUES, make_state

from tokjax.training.checkpoints import CheckpointError, Checkpoints, read
from tokjax.training.digests import find_damage

HERE = Path(__file__).parent
PLACE = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def start(what: str, directory: Path) -> subprocess.Popen:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, str(HERE / "saving_process.py"), what, str(directory)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def assert_params_of(step: int, params: dict) -> None:
    np.testing.assert_array_equal(params["a"], np.arange(VALUES, dtype=np.int32) * step)
    np.testing.assert_array_equal(params["b"], np.full((3,), step, jnp.bfloat16))


def test_kill_9_at_any_moment_leaves_every_finished_step_whole(tmp_path):
    moments, last = random.Random(0), 0
    for _ in range(6):
        process = start("forever", tmp_path)
        first = process.stdout.readline()
        assert first, process.stderr.read()
        time.sleep(moments.uniform(0, 0.25))
        process.kill()
        rest, _ = process.communicate()
        told = int((first + rest).split()[-1])  # the last step that was said to be safe
        for digests in tmp_path.glob("*/digests.json"):
            assert find_damage(digests.parent) is None
        found, parts, record = read(tmp_path)
        assert found >= told > last
        assert record == {"step": found}
        assert_params_of(found, parts["params"])
        last = found
    shapes = jax.eval_shape(make_state, 0)
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=PLACE), shapes)
    checkpoints = Checkpoints(tmp_path)
    restored = checkpoints.restore(abstract, checkpoints.newest())
    assert restored.step == last == int(restored.state["step"])
    assert_params_of(last, restored.state["params"])


def test_a_full_disk_is_an_error_and_the_step_before_it_is_intact(tmp_path):
    out, errors = start("full_disk", tmp_path).communicate(timeout=120)
    lines = out.splitlines()
    assert len(lines) == 4 and "Traceback" not in errors, errors
    for line, caller in zip(lines, ("check", "wait"), strict=False):
        assert line.startswith(f"{caller}: saving step 2 to {tmp_path} failed; the steps saved before it are intact: ")
        assert "File too large" in line
    assert lines[2:] == ["[1]", "[1, 2]"]
    for step in (1, 2):
        assert_params_of(step, read(tmp_path, step=step)[1]["params"])


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    directory = tmp_path_factory.mktemp("two_steps")
    checkpoints = Checkpoints(directory)
    for step in (1, 2):
        checkpoints.save(step, {"params": {"a": jnp.arange(1000.0) * step}}, {"step": step})
    checkpoints.close()
    return directory


def flip(path: Path) -> str:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    return "holds other bytes than were written"


def truncate(path: Path) -> str:
    size = path.stat().st_size
    os.truncate(path, size // 2)
    return f"has {size // 2} bytes, but {size} were written"


def delete(path: Path) -> str:
    path.unlink()
    return "is missing"


@pytest.mark.parametrize("damage", [flip, truncate, delete])
def test_damage_to_any_file_is_named_and_the_older_step_used(two_steps, tmp_path, caplog, damage):
    files = sorted(path.relative_to(two_steps / "2") for path in (two_steps / "2").rglob("*") if path.is_file())
    assert len(files) >= 10
    for number, name in enumerate(files):
        directory = tmp_path / str(number)
        shutil.copytree(two_steps, directory)
        reason = f"{name} {damage(directory / '2' / name)}"
        caplog.clear()
        with caplog.at_level(logging.WARNING, "tokjax"):
            step, parts, record = read(directory)
        assert (step, record) == (1, {"step": 1})
        np.testing.assert_array_equal(parts["params"]["a"], np.arange(1000.0))
        if name.name == "digests.json":
            continue  # tests/training/test_digests.py damages these at every bit
        assert f"the checkpoint of step 2 is damaged: {reason}; step 1 is used instead" in caplog.text
        with pytest.raises(CheckpointError, match=re.escape(f"step 2: {reason}")):
            read(directory, step=2)


def test_a_run_goes_on_from_the_older_step_and_sets_the_damaged_one_aside(two_steps, tmp_path, caplog):
    directory = tmp_path / "checkpoints"
    shutil.copytree(two_steps, directory)
    flip(directory / "2" / "record" / "metadata")
    abstract = {"params": {"a": jax.ShapeDtypeStruct((1000,), jnp.float32, sharding=PLACE)}}
    with caplog.at_level(logging.WARNING, "tokjax"):
        checkpoints = Checkpoints(directory, keep=2)
        restored = checkpoints.restore(abstract, checkpoints.newest())
    assert restored.step == 1
    np.testing.assert_array_equal(restored.state["params"]["a"], np.arange(1000.0))
    assert "step 2 is damaged: record/metadata holds other bytes than were written; step 1 is used instead" in caplog.text
    checkpoints.save(2, {"params": {"a": jnp.arange(1000.0) * 7}}, {})
    checkpoints.close()
    assert sorted(path.name for path in directory.iterdir()) == ["1", "2", "2.damaged"]
    np.testing.assert_array_equal(read(directory)[1]["params"]["a"], np.arange(1000.0) * 7)


def test_no_intact_step_is_an_error_that_names_the_files_and_changes_nothing(two_steps, tmp_path):
    directory = tmp_path / "checkpoints"
    shutil.copytree(two_steps, directory)
    delete(directory / "1" / "state" / "_METADATA")
    flip(directory / "2" / "state" / "manifest.ocdbt")
    before = sorted(directory.rglob("*"))
    sentence = "no intact checkpoint in .*step 2: state/manifest.ocdbt holds other bytes.*; step 1: state/_METADATA is missing"
    for attempt in (lambda: read(directory), lambda: Checkpoints(directory).newest()):
        with pytest.raises(CheckpointError, match=sentence):
            attempt()
    assert sorted(directory.rglob("*")) == before
