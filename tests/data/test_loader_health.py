"""What the loader tells of itself: verdicts counted, slow records, how full its queue is; and that it ends cleanly."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from broken import sound_only
from clips import a_stream, barcode_video, encoded_image

from tokjax.data import clips
from tokjax.data.ahead import DEPTH, Ahead
from tokjax.data.pipeline import evaluation_batches, training_batches
from tokjax.data.records import DataError

ROOT = Path(__file__).parents[2]


class Items:
    """Numbers, each ready at once; the one that `fails` raises."""

    def __init__(self, fails=None):
        self.given, self.fails, self.closed = 0, fails, False

    def __next__(self):
        if self.given == self.fails:
            raise RuntimeError("broken")
        self.given += 1
        return self.given - 1

    def close(self):
        self.closed = True


def test_items_keep_their_order_and_a_few_are_ready():
    items = Items()
    ahead = Ahead(items)
    taken = []
    for _ in range(5):
        time.sleep(0.05)
        taken.append(next(ahead))
    assert taken == [0, 1, 2, 3, 4] and ahead.mean_depth() > DEPTH - 0.5
    assert items.given <= 5 + DEPTH + 1
    ahead.close()
    assert items.closed and not any(thread.name == "tokjax-batches" for thread in threading.enumerate())


def test_an_error_comes_in_its_place_and_stays():
    ahead = Ahead(Items(fails=2))
    assert [next(ahead), next(ahead)] == [0, 1]
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken"):
            next(ahead)
    ahead.close()


@pytest.fixture
def folder(tmp_path):
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(encoded_image((30 * number, 0, 0)))
    return tmp_path


def test_verdicts_are_counted_and_too_short_videos_do_not_end_a_run(tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.mp4").write_bytes(barcode_video(8 if number < 3 else 3))
    (tmp_path / "7.mp4").write_bytes(sound_only())
    stream = a_stream("videos", tmp_path, frames=5, short_clips="drop", batch=2)
    batches = training_batches({"v": stream}, seed=0, bad_share=0.15)
    ids = {name for _ in range(12) for name in next(batches).ids}
    health = batches.health()
    batches.close()
    assert ids == {"0.mp4", "1.mp4", "2.mp4"}
    assert (health["bad_records"], health["bad_records/shorter_than_a_clip"]) == (4, 3)
    assert health["bad_records/no_video_stream"] == 1 and 0 <= health["queue_depth"] <= DEPTH
    assert {row["verdict"] for row in batches.bad} == {"shorter than a clip", "no video stream"}


def test_only_so_many_bad_records_are_listed_but_all_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("tokjax.data.batches.MOST_ROWS", 2)
    for number in range(6):
        (tmp_path / f"{number}.mp4").write_bytes(barcode_video(8 if number == 0 else 3))
    batches = training_batches({"v": a_stream("videos", tmp_path, frames=5, short_clips="drop", batch=2)}, seed=0, bad_share=0.1)
    for _ in range(6):
        next(batches)
    batches.close()
    assert len(batches.bad) == 2 and batches.health()["bad_records"] == batches.health()["bad_records/shorter_than_a_clip"] == 5


def test_only_short_videos_leave_nothing_to_draw(tmp_path):
    (tmp_path / "0.mp4").write_bytes(barcode_video(3))
    batches = training_batches({"v": a_stream("videos", tmp_path, frames=5, short_clips="drop")}, seed=0, bad_share=0.1)
    with pytest.raises(DataError, match=r"16 records drawn cannot be used, the last is 0\.mp4: has 3 frames in 0\.07 seconds"):
        next(batches)
    batches.close()


def test_slow_records_are_listed_once(folder, monkeypatch):
    real = clips.decode

    def decode(record, choose):
        time.sleep(0.3 * (record.id == "3.png"))
        return real(record, choose)

    monkeypatch.setattr(clips, "decode", decode)
    batches = training_batches({"s": a_stream("images", folder)}, seed=0, bad_share=0.1, slow_seconds=0.25)
    for _ in range(6):
        next(batches)
    batches.close()
    (row,) = batches.slow
    assert (row["stream"], row["id"]) == ("s", "3.png") and 0.3 <= row["seconds"] < 3


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_nothing_is_left_running(folder, workers):
    batches = training_batches({"s": a_stream("images", folder)}, seed=0, bad_share=0.1, workers=workers)
    next(batches)
    began = time.monotonic()
    batches.close()
    batches.close()
    assert workers or time.monotonic() - began < 2
    assert not multiprocessing.active_children()
    assert not any(thread.name == "tokjax-batches" for thread in threading.enumerate())


def test_labels_come_with_the_batches(tmp_path):
    for label, name in enumerate(("apples", "pears")):
        (tmp_path / name).mkdir()
        for number in range(4):
            (tmp_path / name / f"{number}.png").write_bytes(encoded_image((90 * label, number, 0)))
    batches = training_batches({"s": a_stream("images", tmp_path)}, seed=0, bad_share=0.1)
    for _ in range(3):
        batch = next(batches)
        assert batch.labels.dtype == np.int32
        assert batch.labels.tolist() == [int(name.startswith("pears")) for name in batch.ids]
    batches.close()


@pytest.mark.parametrize(("rule", "clips_of"), [("repeat", {12: 3, 3: 1, 10: 2}), ("drop", {12: 2, 10: 2})])
def test_whole_videos_are_read_in_clips_that_follow_each_other(tmp_path, rule, clips_of):
    for frames in (12, 3, 10):
        (tmp_path / f"{frames:02d}.mp4").write_bytes(barcode_video(frames, g="4"))
    (tmp_path / "99.mp4").write_bytes(b"text")
    stream = a_stream("videos", tmp_path, frames=5, resolution=64, batch=4, whole=True, short_clips=rule)
    batches = evaluation_batches(stream)
    rows = [row for ids, video, valid in batches for row in zip(ids, video, valid, strict=True) if row[2]]
    assert [name for name, *_ in rows] == [
        f"{frames:02d}.mp4#{number}" for frames in sorted(clips_of) for number in range(clips_of[frames])
    ]
    assert {row["id"] for row in batches.bad} == {"99.mp4"} | ({"03.mp4"} if rule == "drop" else set())
    hosts = [list(evaluation_batches(stream, host=host, hosts=2)) for host in range(2)]
    for (ids, _, _), left, right in zip(batches, *hosts, strict=True):
        assert ids == left[0] + right[0]


LOADING = """
import multiprocessing, sys, time
from clips import a_stream
from tokjax.data.pipeline import training_batches
if __name__ == "__main__":
    batches = training_batches({"s": a_stream("images", sys.argv[1])}, seed=0, bad_share=0.1, workers=1)
    next(batches)
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    time.sleep(60)
"""
PREPARING = """
import sys, time
from pathlib import Path
from tokjax.data import pool
from tokjax.data.shards import Rules
class Endless:
    def __len__(self):
        return 1
    def record(self, index):
        time.sleep(600)
def told(processes, *_):
    print(*(process.pid for process in processes), flush=True)
    time.sleep(60)
if __name__ == "__main__":
    pool._follow = told
    tasks = [(Endless(), Path(sys.argv[1]) / f"{name}.array_record") for name in "ab"]
    pool.write_shards(tasks, Rules(), 2, print)
"""


@pytest.mark.parametrize("script", [pytest.param(LOADING, marks=pytest.mark.slow), PREPARING])
def test_workers_end_with_a_process_that_was_killed(folder, tmp_path, script):
    path = tmp_path / "script.py"
    path.write_text(script)
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "data")])}
    process = subprocess.Popen([sys.executable, str(path), str(folder)], stdout=subprocess.PIPE, text=True, env=where)
    workers = [int(word) for word in process.stdout.readline().split()]
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 20
    while any(_runs(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers and not any(_runs(worker) for worker in workers)


def _runs(process):
    """Not when it has ended, though nobody has asked for its exit code."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
