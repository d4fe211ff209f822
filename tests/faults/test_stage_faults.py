"""kill -9 at the borders and within the stages of a staged run: the same command again ends bitwise the same."""

import random
import signal
import time
from pathlib import Path

import pytest
from saved_runs import bits
from test_training_faults import Data

from tokjax.training.saved_steps import finished_steps
from tokjax.training.telemetry import read_metrics

LAST, BORDERS = 18, (5, 13)


def losses(workdir: Path) -> list[tuple[float, float]]:
    return [(row["step"], row["loss"]) for row in read_metrics(workdir) if "loss" in row]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Data(tmp_path_factory.mktemp("stages") / "data", "staged")


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    code, lines, errors = data.run(workdir)
    assert code == 0, errors
    assert lines[-1] == f"finished at step {LAST}"
    assert sum(": stage '" in line for line in lines) == len(BORDERS)
    return workdir


def kill_after(data: Data, workdir: Path, line: str, seconds: float) -> None:
    process = data.start(workdir)
    while (said := process.stdout.readline()) and line not in said:
        pass
    assert said, process.stderr.read()
    time.sleep(seconds)
    process.kill()
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors


@pytest.mark.slow
def test_kill_9_at_a_border_and_in_the_second_stage(data, undisturbed, tmp_path):
    moments = random.Random(1)
    # The line of a border's step is followed by its save, its score, what is carried over and the next stage's compilation.
    kill_after(data, tmp_path, f"step  {BORDERS[0]}/{LAST}", moments.uniform(0, 1))
    assert max(finished_steps(tmp_path / "checkpoints"), default=0) <= BORDERS[0]  # nothing of the next stage is saved yet
    kill_after(data, tmp_path, f"step {BORDERS[0]}: stage 'large'", moments.uniform(0, 1))
    kill_after(data, tmp_path, f"step {BORDERS[1] - 1}/{LAST}", 0.0)
    saved = max(finished_steps(tmp_path / "checkpoints"))
    assert BORDERS[0] < saved <= BORDERS[1]
    code, lines, errors = data.run(tmp_path)
    assert code == 0, errors
    assert lines[0].startswith(f"resuming at step {saved}: tiny staged, ") and lines[-1] == f"finished at step {LAST}"
    one, two = bits(tmp_path, LAST), bits(undisturbed, LAST)
    assert one.keys() == two.keys() and len(one) > 300
    assert [name for name in one if one[name] != two[name]] == []
    assert losses(tmp_path) == losses(undisturbed) and len(losses(undisturbed)) == LAST
