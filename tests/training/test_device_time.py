"""Device hours and peak memory over the starts of a run, killed ones included."""

import json
import os

import jax
import pytest

from tokjax.training.device_time import peak_memory, read_use, recorded_use


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


def test_hours_add_up_and_a_killed_start_counts_until_its_last_number(tmp_path):
    rows = [{"began": 0, "devices": 8}, {"ended": 1800, "peak_bytes": 5, "memory": "device"}, {"began": 7200, "devices": 2}]
    (tmp_path / "usage.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "metrics.jsonl").touch()
    os.utime(tmp_path / "metrics.jsonl", (0, 10_800))
    assert read_use(tmp_path) == (pytest.approx(8 * 0.5 + 2 * 1), 5, "device")
    with recorded_use(tmp_path, leader=True):
        (tmp_path / "metrics.jsonl").touch()
    hours, _, _ = read_use(tmp_path)
    assert hours == pytest.approx(6, abs=0.01), "the pause between the kill and the next start is no use"


def test_a_run_that_never_started_used_nothing(tmp_path):
    assert read_use(tmp_path) == (0.0, None, "")


def test_the_memory_of_this_process_is_more_than_an_array_it_held():
    import numpy as np

    assert np.ones(2**24, np.float32).sum() == 2**24
    peak, where = peak_memory()
    assert where == "process" and peak > 4 * 2**24
