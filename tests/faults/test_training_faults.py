"""What must not change a run: kill -9, SIGTERM, a second start, damage, a full disk. Real processes of `tokjax train`."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from saved_runs import bits
from tiny_experiment import write_data

from tokjax.training.saved_steps import finished_steps
from tokjax.training.telemetry import read_metrics

ROOT = Path(__file__).parents[2]
EVERY, LAST = 3, 24  # checkpoints and steps of the experiment


class Data:
    """A folder of data, and runs of one variant of the tiny experiment on it."""

    def __init__(self, folder: Path, variant: str = "mixed") -> None:
        self.folder, self.variant = write_data(folder), variant

    def start(self, workdir: Path, *more: str, python: tuple[str, ...] = ("-m", "tokjax.cli")) -> subprocess.Popen:
        command = [sys.executable, *python, "train", "--workdir", str(workdir), *more]
        command += ["--config", str(ROOT / "tests" / f"tiny_experiment.py:{self.variant}")]
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=self.folder, env=environment, **pipes)

    def run(self, workdir: Path, *more: str, **options: tuple[str, ...]) -> tuple[int, list[str], str]:
        """Exit code, lines, and what came as an error."""
        process = self.start(workdir, *more, **options)
        out, errors = process.communicate(timeout=300)
        return process.returncode, out.splitlines(), errors


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Data(tmp_path_factory.mktemp("run") / "data")


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    code, lines, errors = data.run(workdir)
    assert code == 0, errors
    assert lines[-1] == f"finished at step {LAST}"
    return workdir


def losses(workdir: Path) -> list[tuple[float, float]]:
    return [(row["step"], row["loss"]) for row in read_metrics(workdir)]


def assert_same_end(workdir: Path, other: Path) -> None:
    one, two = bits(workdir), bits(other)
    assert one.keys() == two.keys() and len(one) > 200
    assert [name for name in one if one[name] != two[name]] == []
    assert losses(workdir) == losses(other)
    assert [step for step, _ in losses(workdir)] == list(range(1, LAST + 1))


def copy_before(workdir: Path, copy: Path, step: int) -> Path:
    """A copy of the run without its checkpoints from `step` on."""
    shutil.copytree(workdir, copy)
    for later in [saved for saved in finished_steps(copy / "checkpoints") if saved >= step]:
        shutil.rmtree(copy / "checkpoints" / str(later))
    return copy


def last_step(text: str) -> int:
    return int(re.findall(rf"step +(\d+)/{LAST} ", text)[-1])


def test_kill_9_at_any_moment_and_the_same_command_again_end_bitwise_the_same(data, undisturbed, tmp_path):
    moments, reached, known = random.Random(0), [], 0
    for _ in range(12):
        process = data.start(tmp_path)
        begin = process.stdout.readline()
        assert f"resuming at step {known}:" in begin if known else begin.startswith("starting:"), process.stderr.read()
        first = process.stdout.readline()
        time.sleep(moments.uniform(0, 0.8))
        process.kill()
        rest, errors = process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors
        known = max(finished_steps(tmp_path / "checkpoints"), default=0)
        reached.append(last_step(first + rest))
        begun = (reached[-1] - 1) // EVERY * EVERY  # the last save that surely began; it may be lost, the one before it not
        assert begun - EVERY <= known <= reached[-1]
        if len(reached) == 3:
            break
    assert len(reached) >= 2
    code, lines, errors = data.run(tmp_path)
    assert code == 0, errors
    assert lines[-1] == f"finished at step {LAST}"
    assert_same_end(tmp_path, undisturbed)


@pytest.mark.slow
def test_sigterm_saves_the_step_it_stops_at_and_the_same_command_continues(data, undisturbed, tmp_path):
    process = data.start(tmp_path)
    while "step  4/" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    step = int(re.fullmatch(r"stopped at step (\d+) and saved; the same command continues", out.splitlines()[-1]).group(1))
    assert 4 <= step < LAST
    assert finished_steps(tmp_path / "checkpoints")[-1] == step
    code, lines, errors = data.run(tmp_path)
    assert code == 0, errors
    assert lines[0].startswith(f"resuming at step {step}:")
    assert_same_end(tmp_path, undisturbed)


@pytest.mark.slow
def test_a_second_start_is_refused_until_the_first_is_gone(data, tmp_path):
    holder = data.start(tmp_path)
    holder.stdout.readline()
    holder.send_signal(signal.SIGSTOP)  # so that it does not finish meanwhile
    code, lines, errors = data.run(tmp_path)
    assert (code, lines) == (1, [])
    assert errors.splitlines()[-1].startswith(f"tokjax: the workdir {tmp_path} is in use by process {holder.pid} on ")
    assert len(errors.splitlines()) == 1
    holder.kill()
    holder.communicate()
    again = data.start(tmp_path)
    assert again.stdout.readline().startswith(("starting:", "resuming at step"))
    again.kill()
    again.communicate()


@pytest.mark.slow
def test_worker_processes_do_not_change_the_run(data, undisturbed, tmp_path):
    code, _, errors = data.run(tmp_path, "--config.data.workers=2")
    assert code == 0, errors
    assert_same_end(tmp_path, undisturbed)


FULL_DISK = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))  # a limit on the size of a file stands in for it
runpy.run_module("tokjax.cli", run_name="__main__")
"""


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_checkpoint_before_it_is_intact(data, undisturbed, tmp_path):
    workdir, begin = copy_before(undisturbed, tmp_path / "run", LAST), LAST - EVERY
    before = bits(workdir)
    code, lines, errors = data.run(workdir, python=("-c", FULL_DISK))
    assert code == 1
    assert lines[0].startswith(f"resuming at step {begin}:")
    sentence = f"saving step {LAST} to {workdir / 'checkpoints'} failed; the steps saved before it are intact: "
    assert errors.startswith(f"tokjax: {sentence}") and "File too large" in errors and len(errors.splitlines()) == 1, errors
    assert bits(workdir, begin) == before
    code, lines, errors = data.run(workdir)
    assert code == 0, errors
    assert_same_end(workdir, undisturbed)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_run_ends_bitwise_the_same_from_the_older_one(data, undisturbed, tmp_path):
    workdir = shutil.copytree(undisturbed, tmp_path / "run")
    newest = workdir / "checkpoints" / str(LAST)
    victim = max((newest / "state").rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    code, lines, errors = data.run(workdir)
    assert code == 0, errors
    name, older = victim.relative_to(newest), LAST - EVERY
    assert f"the checkpoint of step {LAST} is damaged: {name} holds other bytes than were written; step {older} is used" in errors
    assert lines[0].startswith(f"resuming at step {older}:")
    assert_same_end(workdir, undisturbed)
