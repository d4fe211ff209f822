"""kill -9 and SIGTERM of runs of models of tokens: the same command again, and they end bitwise as if undisturbed."""

import random
import re
import signal
import time
from pathlib import Path

import pytest
from saved_runs import bits
from test_training_faults import Data
from tiny_tokenizer import write_tiny

from tokjax.cli import main
from tokjax.training.saved_steps import finished_steps
from tokjax.training.telemetry import read_metrics

KILLS, LAST = 6, 300
OPTIONS = [f"--config.training.steps={LAST}", "--config.training.checkpoint_every=20"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["language", "diffusion"])
def data(request, tmp_path_factory):
    """Data with a cache of its tokens."""
    data = Data(tmp_path_factory.mktemp(request.param) / "data", request.param)
    model = write_tiny(data.folder, "fsq" if request.param == "language" else "kl")
    images = ["--data", str(data.folder / "images"), "--resolution", "16", "--batch", "4"]
    assert main(["encode", str(model), *images, "--output", str(data.folder / "cache")]) == 0
    return data


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    code, _, errors = data.run(workdir, *OPTIONS)
    assert code == 0, errors
    return workdir


def assert_same_end(workdir, undisturbed):
    one, two = bits(workdir, LAST), bits(undisturbed, LAST)
    assert one.keys() == two.keys() and any(name.startswith("ema/") for name in one)
    assert [name for name in one if one[name] != two[name]] == []
    ours, theirs = (
        [(row["step"], row["loss"]) for row in read_metrics(path) if "loss" in row] for path in (workdir, undisturbed)
    )
    assert ours == theirs and [step for step, _ in ours] == list(range(1, LAST + 1))


def killed_in(data: Data, workdir: Path, moments: random.Random) -> bool:
    """Whether the kill came before the end: while the run starts, or after so many of the lines that it writes, one a step."""
    process = data.start(workdir, *OPTIONS)
    lines = moments.choice([0, moments.randrange(1, LAST // 3)])
    for _ in range(lines):
        process.stdout.readline()
    time.sleep(moments.uniform(0, 0.1 if lines else 6))
    process.kill()
    _, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors
    return process.returncode != 0


def test_kills_at_random_moments_change_nothing(data, undisturbed, tmp_path):
    """A run that comes to its end before a kill is compared, and another is begun."""
    moments, kills, number, known = random.Random(0), 0, 0, 0
    while kills < KILLS:
        workdir = tmp_path / str(number)
        if not killed_in(data, workdir, moments):
            assert_same_end(workdir, undisturbed)
            number, known = number + 1, 0
            continue
        saved = max(finished_steps(workdir / "checkpoints"), default=0)
        assert saved >= known
        known, kills = saved, kills + 1
    code, lines, errors = data.run(workdir, *OPTIONS)
    assert code == 0 and lines[-1] == f"finished at step {LAST}", errors
    assert_same_end(workdir, undisturbed)


def test_sigterm_saves_the_step_it_stops_at_and_the_same_command_continues(data, undisturbed, tmp_path):
    process = data.start(tmp_path, *OPTIONS)
    while "step   3/" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    step = int(re.fullmatch(r"stopped at step (\d+) and saved; the same command continues", out.splitlines()[-1]).group(1))
    assert 3 <= step < LAST and finished_steps(tmp_path / "checkpoints")[-1] == step
    code, lines, errors = data.run(tmp_path, *OPTIONS)
    assert code == 0 and lines[0].startswith(f"resuming at step {step}:"), errors
    assert_same_end(tmp_path, undisturbed)
