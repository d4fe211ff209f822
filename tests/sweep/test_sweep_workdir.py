"""A workdir belongs to one sweep, and says of each run what it is, was, and has become."""

import fcntl
import json
import re
import socket
import subprocess
import sys

import pytest
from sweep_stand_ins import write_sweep

from tokjax.config import ConfigError, to_json
from tokjax.experiment import load_experiment
from tokjax.sweep.rows import load_sweep, planned_runs
from tokjax.sweep.states import DONE, FAILED, QUEUED, RUNNING, STALE, STOPPED, WAITING, State, state_of, status_table
from tokjax.sweep.workdir import (
    claim,
    code_version,
    command_of,
    folder_of,
    prepare,
    read_record,
    read_workdir,
    update_record,
    write_start,
)
from tokjax.training import digests
from tokjax.training.ending import recorded_end
from tokjax.training.workdir import lock_workdir


def planned(path):
    name, sweep = load_sweep(str(path))
    return name, sweep, planned_runs(sweep)


@pytest.fixture
def place(tmp_path):
    """(workdir, sweep file, its one run)"""
    path = write_sweep(tmp_path, "Row('a', me, seeds=(3,), facts={'x': 'y'}, paper={'usage': 0.5, 'images/psnr': 'diverged'})")
    name, sweep, runs = planned(path)
    claim(tmp_path / "w", name, sweep, runs)
    return tmp_path / "w", path, runs[0]


def finish(workdir, run, step=6):
    folder = folder_of(workdir, run)
    (folder / "checkpoints" / str(step)).mkdir(parents=True)
    (folder / "checkpoints" / str(step) / digests.NAME).touch()
    (folder / "config.json").write_text(to_json(run.config))
    rows = [{"step": 0, "validation/images/psnr": 6.1}, {"step": 4, "loss": 0.25, "steps_per_second": 0.5}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 5, "lo')


def test_what_is_written_is_read_back(place):
    workdir, path, _ = place
    name, sweep, runs = planned(path)
    again = read_workdir(workdir)
    assert again == (name, sweep, runs) and name == "small:paper"


def test_rows_may_be_added_but_another_sweep_is_refused_with_the_difference(place, tmp_path):
    workdir, path, _ = place
    write_sweep(tmp_path, "Row('a', me, seeds=(3,))", "Row('b', me)")
    claim(workdir, *planned(path))
    assert [row.name for row in read_workdir(workdir)[1].rows] == ["a", "b"]
    write_sweep(tmp_path, "Row('b', me)", "Row('c', me)")
    message = "was made by the sweep small:paper, and this is small:paper (rows only there: a; rows only here: c)"
    with pytest.raises(ConfigError, match=re.escape(message)):
        claim(workdir, *planned(path))
    write_sweep(tmp_path, "Row('a', me)", "Row('b', me)")
    _, sweep, runs = planned(path)
    with pytest.raises(ConfigError, match=re.escape("this is small:laptop (with the same rows)")):
        claim(workdir, "small:laptop", sweep, runs)


def test_the_workdir_of_a_training_run_is_refused(place, tmp_path):
    _, path, _ = place
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ConfigError, match="is the workdir of a training run"):
        claim(tmp_path / "run", *planned(path))
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="is the workdir of a training run"):
        claim(tmp_path / "begun", *planned(path))
    with pytest.raises(ConfigError, match=r"neither a sweep file nor the workdir of a sweep: it has no sweep\.json"):
        read_workdir(tmp_path / "run")


def test_states_follow_from_the_folder(place):
    workdir, _, run = place
    folder = folder_of(workdir, run)
    assert state_of(workdir, run) == State(WAITING, 0, 6)
    write_start(workdir, run, "slurm")
    update_record(folder, submission="Slurm job 7_0")
    assert state_of(workdir, run) == State(QUEUED, 0, 6, reason="Slurm job 7_0")
    update_record(folder, exit=1, reason="no data")
    assert state_of(workdir, run) == State(FAILED, 0, 6, reason="no data")
    update_record(folder, exit=75)
    assert state_of(workdir, run).name == STOPPED
    finish(workdir, run, step=4)
    seen = state_of(workdir, run)
    assert (seen.name, seen.step, seen.metric) == (STOPPED, 4, "held-out PSNR 6.10 dB at 0")
    with lock_workdir(folder):
        seen = state_of(workdir, run)
        assert (seen.name, seen.step, seen.eta) == (RUNNING, 4, 2 / 0.5)
    finish(workdir, run)
    assert state_of(workdir, run).name == DONE


def test_a_row_whose_config_changed_since_it_ran_is_stale(place, tmp_path):
    workdir, path, run = place
    finish(workdir, run)
    (tmp_path / "changed").touch()
    name, sweep, runs = planned(path)
    claim(workdir, name, sweep, runs)
    seen = state_of(workdir, read_workdir(workdir)[2][0])
    assert seen.name == STALE
    changed = "config.model.quantizer.codebook_size was 16 and is 32"
    assert seen.reason == f"{changed}; remove {folder_of(workdir, run)} to run it anew"


def test_what_does_not_change_a_result_makes_nothing_stale(place):
    workdir, _, run = place
    finish(workdir, run)
    run.config.data.workers = 3
    run.config.mesh.fsdp = 2
    assert state_of(workdir, run).name == DONE


def test_a_start_records_config_command_and_code(place):
    workdir, _, run = place
    for slot in ("GPU 0", "GPU 1"):
        write_start(workdir, run, slot)
    record = read_record(folder_of(workdir, run))
    assert record["config"] == json.loads(to_json(run.config)) and record["command"] == command_of(workdir, run)
    assert tuple(record["arguments"]) == run.arguments and record["command"][:2] == ["tokjax", "train"]
    assert [start["place"] for start in record["starts"]] == ["GPU 0", "GPU 1"]
    assert record["starts"][0]["code"] == code_version() and {"tokjax", "jax", "python"} <= code_version().keys()


def test_what_is_to_be_trained_is_what_was_planned_whatever_the_files_say_later(place, tmp_path):
    workdir, _, run = place
    prepare(workdir, [run])
    (tmp_path / "changed").touch()
    path = command_of(workdir, run)[-1]
    assert load_experiment(path) == run.config and load_experiment(path).model.quantizer.codebook_size == 16
    assert load_experiment(run.arguments[1]).model.quantizer.codebook_size == 32, "the file itself has changed"
    with pytest.raises(ConfigError, match="is a single config and has no variant 'b'"):
        load_experiment(f"{path}:b")
    with pytest.raises(ConfigError, match=r"no experiment file nowhere\.json"):
        load_experiment("nowhere.json")


def test_a_failure_that_nobody_saw_is_told_by_the_training_itself(place):
    workdir, _, run = place
    folder = folder_of(workdir, run)
    prepare(workdir, [run])
    write_start(workdir, run, "slurm")
    update_record(folder, submission="Slurm job 7_0")
    with pytest.raises(OSError, match="no data"), recorded_end(folder, leader=False):
        raise OSError("no data\n  here")
    assert state_of(workdir, run) == State(FAILED, 0, 6, reason="no data here")
    with pytest.raises(OSError, match="lost"), recorded_end(folder, leader=False):
        raise OSError("the other process is lost")
    assert state_of(workdir, run).reason == "no data here", "the first to fail says why"
    with recorded_end(folder, leader=True) as note:
        assert state_of(workdir, run).name == QUEUED, "a new start forgets the failure"
        assert note(75) == 75
    assert state_of(workdir, run).name == STOPPED
    prepare(workdir, [run])
    assert state_of(workdir, run).name == QUEUED


def test_a_folder_that_was_removed_is_recorded_nowhere(place):
    workdir, _, run = place
    update_record(folder_of(workdir, run), exit=1)
    assert state_of(workdir, run) == State(WAITING, 0, 6)


def test_a_run_is_known_by_its_command_however_the_workdir_is_named(place, monkeypatch):
    workdir, _, run = place
    monkeypatch.chdir(workdir.parent)
    short = workdir.relative_to(workdir.parent)
    prepare(short, [run])
    write_start(short, run, "this machine")
    words = [sys.executable, "-c", "import time; time.sleep(60)", *command_of(short, run)[1:]]
    process = subprocess.Popen(words)
    try:
        update_record(folder_of(workdir, run), process={"number": process.pid, "host": socket.gethostname()})
        assert state_of(workdir, run).name == state_of(short, run).name == RUNNING
        update_record(folder_of(workdir, run), command=["tokjax", "train", "--workdir", "elsewhere"])
        assert state_of(workdir, run).name == STOPPED, "the number belongs to another process now"
    finally:
        process.kill()
        process.wait()


def test_to_look_at_a_lock_is_not_in_the_way_of_another_look_nor_of_a_start(place, monkeypatch):
    workdir, _, run = place
    folder = folder_of(workdir, run)
    folder.mkdir(parents=True)
    (folder / "lock").write_text("process 1 on another machine")
    with (folder / "lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert state_of(workdir, run).name == WAITING
        monkeypatch.setattr("tokjax.training.workdir.time.sleep", lambda wait: wait and fcntl.flock(other, fcntl.LOCK_UN))
        with lock_workdir(folder):
            (folder / "lock").write_text("")  # as it is for a moment
            assert state_of(workdir, run).name == RUNNING


def test_the_status_table_has_a_line_a_run_and_reasons_below():
    states = {"a/seed_0": State(RUNNING, 40, 100, "loss 0.5", 3725.0), "b": State(FAILED, 0, 100, reason="no data here")}
    assert status_table(states).splitlines() == [
        "run       state    step    last metric  ETA",
        "a/seed_0  running  40/100  loss 0.5     1:02:05",
        "b         failed   0/100",
        "    no data here",
    ]
