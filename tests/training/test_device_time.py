"""Device hours and peak memory over the starts of a run, killed ones included."""

import json
import os
from pathlib import Path

import jax
import pytest

from tokjax.cli import main
from tokjax.training.device_time import end_what_was_killed, peak_memory, read_use, recorded_use


def test_a_block_is_recorded_as_it_starts_and_as_it_ends(tmp_path):
    with recorded_use(tmp_path, leader=True):
        (row,) = map(json.loads, (tmp_path / "usage.jsonl").read_text().splitlines())
        assert row["devices"] == jax.device_count() and row["kind"] == "cpu"
    with pytest.raises(ValueError, match="no data"), recorded_use(tmp_path, leader=True):
        raise ValueError("no data")
    rows = [json.loads(line) for line in (tmp_path / "usage.jsonl").read_text().splitlines()]
    assert [("began" in row, "ended" in row) for row in rows] == [(True, False), (False, True)] * 2
    with recorded_use(tmp_path / "none", leader=False):
        pass
    assert not (tmp_path / "none").exists()


@pytest.fixture
def killed(tmp_path):
    """A workdir whose last start, on 2 devices, logged its last number an hour after it began, and was killed."""
    rows = [{"began": 0, "devices": 8}, {"ended": 1800, "peak_bytes": 5, "memory": "device"}, {"began": 7200, "devices": 2}]
    (tmp_path / "usage.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "metrics.jsonl").touch()
    os.utime(tmp_path / "metrics.jsonl", (0, 10_800))
    return tmp_path


def test_hours_add_up_and_a_killed_start_counts_until_its_last_number(killed):
    assert read_use(killed) == (pytest.approx(8 * 0.5 + 2 * 1), 5, "device")


class Run:
    """As tokjax.training.loop.Run, which writes the log anew as it opens it."""

    def __init__(self, config, workdir, profile, accept_data_change):
        (workdir / "metrics.jsonl").touch()

    def train(self):
        return 0


def test_the_pause_between_a_kill_and_the_next_start_is_no_use(killed, monkeypatch):
    monkeypatch.setattr("tokjax.training.loop.Run", Run)
    config = Path(__file__).parents[1] / "tiny_experiment.py"
    assert main(["train", "--config", str(config), "--workdir", str(killed)]) == 0
    assert read_use(killed)[0] == pytest.approx(6, abs=0.01)


def test_a_line_that_a_full_disk_cut_short_stops_no_later_start(killed):
    with (killed / "usage.jsonl").open("a") as file:
        file.write('{"ended": 108')
    assert read_use(killed)[0] == pytest.approx(6)
    end_what_was_killed(killed)
    with recorded_use(killed, leader=True):
        pass
    rows = [json.loads(line) for line in (killed / "usage.jsonl").read_text().splitlines()]
    assert rows[3] == {"ended": 10_800} and len(rows) == 6


def test_a_run_that_never_started_used_nothing(tmp_path):
    assert read_use(tmp_path) == (0.0, None, "")


def test_the_memory_of_this_process_is_more_than_an_array_it_held():
    import numpy as np

    assert np.ones(2**24, np.float32).sum() == 2**24
    peak, where = peak_memory()
    assert where == "process" and peak > 4 * 2**24
