"""kill -9 of an adversarial run over and over, while it starts, compiles, saves and trains: it ends bitwise as if undisturbed."""

import random
import signal
import time

import pytest
from saved_runs import bits
from test_training_faults import Data

from tokjax.training.saved_steps import finished_steps
from tokjax.training.telemetry import read_metrics

KILLS, LAST = 20, 120
LENGTHS = [f"--config.stages.{number}.training.steps={steps}" for number, steps in enumerate((50, 50, 20))]
OPTIONS = [*LENGTHS, "--config.training.checkpoint_every=10"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Data(tmp_path_factory.mktemp("judged") / "data", "judged")


def assert_same_end(workdir, undisturbed):
    one, two = bits(workdir, LAST), bits(undisturbed, LAST)
    assert one.keys() == two.keys() and any("discriminator" in name for name in one)
    assert [name for name in one if one[name] != two[name]] == []
    for key in ("loss", "discriminator_loss"):
        ours, theirs = ([(row["step"], row[key]) for row in read_metrics(path) if key in row] for path in (workdir, undisturbed))
        assert ours == theirs and len(ours) == LAST


def test_twenty_kills_at_random_moments_change_nothing(data, tmp_path):
    """A run that comes to its end before a kill is compared, and another is begun."""
    begin, moments, kills, number, known = time.monotonic(), random.Random(0), 0, 0, 0
    code, _, errors = data.run(tmp_path / "undisturbed", *OPTIONS)
    assert code == 0, errors
    whole = time.monotonic() - begin
    while kills < KILLS:
        workdir = tmp_path / str(number)
        process = data.start(workdir, *OPTIONS)
        time.sleep(moments.uniform(0, 0.6 * whole))
        process.kill()
        _, errors = process.communicate()
        if process.returncode == 0:
            assert_same_end(workdir, tmp_path / "undisturbed")
            number, known = number + 1, 0
            continue
        assert process.returncode == -signal.SIGKILL, errors
        saved = max(finished_steps(workdir / "checkpoints"), default=0)
        assert saved >= known
        known, kills = saved, kills + 1
    code, lines, errors = data.run(workdir, *OPTIONS)
    assert code == 0 and lines[-1] == f"finished at step {LAST}", errors
    assert_same_end(workdir, tmp_path / "undisturbed")
