"""The runner with a stand-in for training: what is done is not repeated, failures stay alone, kills and stops lose nothing."""

import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from sweep_stand_ins import write_sweep, write_training

from tokjax.config import ConfigError
from tokjax.experiment import load_experiment
from tokjax.sweep import runner, slots
from tokjax.sweep.rows import load_sweep, planned_runs
from tokjax.sweep.runner import FINISHED, INCOMPLETE, STOPPED, Runner
from tokjax.sweep.slots import Slot, slots_for
from tokjax.sweep.states import DONE, FAILED, RUNNING, WAITING, State, state_of
from tokjax.sweep.workdir import read_record, write_start

PYTHON = sys.executable
RUNNER = """
import sys
from pathlib import Path
from tokjax.sweep.rows import load_sweep, planned_runs
from tokjax.sweep.runner import Runner
from tokjax.sweep.slots import Slot
sys.executable, path, workdir = sys.argv[1:]
show = lambda states: (Path(workdir) / "shown").touch()
sys.exit(Runner(Path(workdir), planned_runs(load_sweep(path)[1]), [Slot()], show).run())
"""


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """begin(*rows, slots) -> a Runner over these rows."""
    monkeypatch.setattr(runner.sys, "executable", write_training(tmp_path))

    def make(*rows, slots=None):
        path = write_sweep(tmp_path, *(f"Row({row!r}, me)" for row in rows))
        return Runner(tmp_path / "w", planned_runs(load_sweep(str(path))[1]), slots or [Slot()], lambda states: None)

    return make


def starts(tmp_path, row):
    path = tmp_path / "w" / "rows" / row / "seed_0" / "starts"
    return len(path.read_text()) if path.exists() else 0


def test_a_failed_row_stops_no_other_and_shows_its_reason(begin, tmp_path):
    made = begin("fails", "killed", "good")
    assert made.run() == INCOMPLETE
    assert {id: state.name for id, state in made.states.items()} == {
        "fails/seed_0": FAILED,
        "killed/seed_0": FAILED,
        "good/seed_0": DONE,
    }
    assert made.states["fails/seed_0"].reason == "there is no data here"
    assert made.states["killed/seed_0"].reason == "ended by SIGKILL, as a system does that runs out of memory"


def test_what_is_done_is_not_repeated_and_what_failed_is_tried_again(begin, tmp_path):
    assert begin("fails", "good").run() == INCOMPLETE
    assert begin("fails", "good").run() == INCOMPLETE
    assert (starts(tmp_path, "fails"), starts(tmp_path, "good")) == (2, 1)
    assert begin("good").run() == FINISHED


def test_a_file_that_is_edited_during_a_sweep_changes_no_row(begin, tmp_path):
    made = begin("good", "good_too")
    (tmp_path / "changed").touch()
    assert made.run() == FINISHED
    for row in ("good", "good_too"):
        command = read_record(tmp_path / "w" / "rows" / row / "seed_0")["command"]
        assert load_experiment(command[command.index("--config") + 1]).model.quantizer.codebook_size == 16


def test_as_many_run_at_once_as_there_are_slots(begin, tmp_path):
    tmp_path.joinpath("w").mkdir()
    tmp_path.joinpath("w", "seconds").write_text("1")
    cores = sorted(os.sched_getaffinity(0))
    two = [Slot("one", {"CUDA_VISIBLE_DEVICES": "0"}, (cores[0],)), Slot("other", {}, (cores[-1],))]
    made = begin("slow_1", "slow_2", slots=two)
    assert made.run() == FINISHED
    begun = [tmp_path / "w" / "rows" / row / "seed_0" / "starts" for row in ("slow_1", "slow_2")]
    ended = [path.with_name("metrics.jsonl") for path in begun]
    assert max(path.stat().st_mtime for path in begun) < min(path.stat().st_mtime for path in ended)
    places = {read_record(path.parent)["starts"][0]["place"] for path in begun}
    assert places == {"one", "other"}


def wait_for(path: Path) -> None:
    for _ in range(400):
        if path.exists():
            return
        time.sleep(0.05)
    raise TimeoutError(path)


def in_a_process(tmp_path, seconds):
    """A runner over the row "slow" in a process of its own, once that row has started."""
    tmp_path.joinpath("w").mkdir(exist_ok=True)
    tmp_path.joinpath("w", "seconds").write_text(seconds)
    path = write_sweep(tmp_path, "Row('slow', me)")
    words = [PYTHON, "-c", RUNNER, write_training(tmp_path), str(path), str(tmp_path / "w")]
    search = os.pathsep.join(map(str, (Path(__file__).parents[2], Path(__file__).parents[1])))
    process = subprocess.Popen(words, env=dict(os.environ) | {"PYTHONPATH": search})
    folder = tmp_path / "w" / "rows" / "slow" / "seed_0"
    wait_for(folder / "starts")
    while "process" not in read_record(folder):
        time.sleep(0.01)
    return process


def test_a_runner_that_is_killed_has_lost_nothing(begin, tmp_path):
    process = in_a_process(tmp_path, "2")
    process.kill()
    process.wait()
    made = begin("slow")
    assert made.run() == FINISHED
    assert starts(tmp_path, "slow") == 1, "the training that outlived the runner was waited for"


def test_a_training_that_dies_with_its_runner_goes_on(begin, tmp_path):
    process = in_a_process(tmp_path, "60")
    process.kill()
    process.wait()
    time.sleep(0.3)
    folder = tmp_path / "w" / "rows" / "slow" / "seed_0"
    os.kill(read_record(folder)["process"]["number"], signal.SIGKILL)
    (tmp_path / "w" / "seconds").write_text("0")
    assert begin("slow").run() == FINISHED and starts(tmp_path, "slow") == 2


def test_a_stop_reaches_what_runs_and_nothing_more_is_started(tmp_path):
    process = in_a_process(tmp_path, "60")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == STOPPED
    run = planned_runs(load_sweep(str(tmp_path / "small.py"))[1])[0]
    assert state_of(tmp_path / "w", run).name == "stopped"


def test_what_another_trains_already_is_waited_for(begin, tmp_path, monkeypatch):
    """A runner that was killed before it could note whom it had started: the second start is refused, and waits."""
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "seconds").write_text("1.5")
    made = begin("slow_refused")
    folder = tmp_path / "w" / "rows" / "slow_refused" / "seed_0"
    words = [tmp_path / "python", "-m", "tokjax.cli", "train", "--workdir", str(folder)]
    folder.mkdir(parents=True)
    other = subprocess.Popen(words)
    wait_for(folder / "lock")
    unseen = [State(WAITING, 0, 6)]
    monkeypatch.setattr(runner, "state_of", lambda workdir, run: unseen.pop() if unseen else state_of(workdir, run))
    made.states = {run: State(WAITING, 0, 6) for run in made.states}
    assert made.run() == FINISHED
    assert other.wait() == 0 and starts(tmp_path, "slow_refused") == 2
    assert read_record(folder).get("exit") is None, "the refusal is not how the run ended"


def test_what_is_waited_for_keeps_the_place_where_it_was_started(begin, tmp_path):
    made = begin("slow", slots=[Slot("GPU 0"), Slot("GPU 1")])
    run = planned_runs(load_sweep(str(tmp_path / "small.py"))[1])[0]
    write_start(tmp_path / "w", run, "GPU 1")
    assert made._slot_of(run).name == "GPU 1"


def test_a_stop_reaches_what_a_runner_before_has_started(tmp_path):
    first = in_a_process(tmp_path, "60")
    first.kill()
    first.wait()
    (tmp_path / "w" / "shown").unlink(missing_ok=True)
    second = in_a_process(tmp_path, "60")
    wait_for(tmp_path / "w" / "shown")
    second.send_signal(signal.SIGTERM)
    assert second.wait(30) == STOPPED
    assert starts(tmp_path, "slow") == 1


def test_a_row_whose_folder_is_removed_while_it_trains_stops_no_other(begin, tmp_path):
    assert begin("removed", "good").run() == INCOMPLETE
    assert starts(tmp_path, "good") == 1


def test_waiting_costs_next_to_nothing(begin, tmp_path, monkeypatch):
    """Five minutes of a row that logs five times: files are read when they have grown, the table is drawn when it has changed."""
    clock, reads, shown, logged = [0.0], [], [], tmp_path / "w/rows/good/seed_0/metrics.jsonl"

    class Process:
        pid, returncode = 1, None

        def poll(self):
            self.returncode = 0 if clock[0] >= 300 else None
            return self.returncode

    def sleep(seconds):
        if int(clock[0] + seconds) // 60 > int(clock[0]) // 60:
            with logged.open("a") as file:
                file.write('{"step": 1, "loss": 0.5}\n')
        clock[0] += seconds

    made = begin("good")
    fake = types.SimpleNamespace(Popen=lambda words, **how: Process(), DEVNULL=None, STDOUT=None)
    monkeypatch.setattr(runner, "subprocess", fake)
    monkeypatch.setattr(runner, "time", types.SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    monkeypatch.setattr(runner, "progress_of", lambda *where: reads.append(where) or State(RUNNING, 0, 6))
    made._show = lambda states: shown.append(clock[0])
    assert made.run() == INCOMPLETE
    assert len(reads) == 5 and len(shown) <= 7


def test_the_runner_loads_no_jax():
    """Neither the time to import it nor, on a GPU, its memory is taken from the rows."""
    names = ("rows", "workdir", "states", "slots", "runner", "live")
    code = f"import sys, {', '.join(f'tokjax.sweep.{name}' for name in names)}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([PYTHON, "-c", code], cwd=Path(__file__).parents[2], timeout=60).returncode == 0


def test_slots_are_gpus_or_shares_of_the_cores(monkeypatch):
    assert slots_for(None) == [Slot()]
    monkeypatch.setenv("JAX_PLATFORMS", "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert [(one.name, one.environment) for one in slots_for(0)] == [
        ("GPU 2", {"CUDA_VISIBLE_DEVICES": "2"}),
        ("GPU 3", {"CUDA_VISIBLE_DEVICES": "3"}),
    ]
    with pytest.raises(ConfigError, match="this machine has 2 GPUs for it"):
        slots_for(3)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setattr(slots.os, "sched_getaffinity", lambda _: {0, 1, 2, 5, 7})
    assert [one.cores for one in slots_for(2)] == [(0, 1), (2, 5, 7)]
    with pytest.raises(ConfigError, match="found no GPU here; say how many runs share the cores"):
        slots_for(0)
