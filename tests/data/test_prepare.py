"""Preparing: manifest, log, duplicates, parallel workers, and that a kill, an error or a full disk costs one shard at most."""

import json
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from clips import a_stream, barcode_video, encoded_image
from PIL import Image

from tokjax.cli import main
from tokjax.data import pool, prepare, shards
from tokjax.data.folders import resumable_folder
from tokjax.data.pool import WorkerError
from tokjax.data.prepare import prepare_array_records
from tokjax.data.records import DataError, Record, pack, unpack
from tokjax.data.reencode import Encoding
from tokjax.data.shards import Rules
from tokjax.data.sources import open_source

ROOT = Path(__file__).parents[2]


@pytest.fixture
def images(tmp_path):
    """Two classes of six images; two of them are alike, one is none."""
    for number in range(12):
        path = tmp_path / "images" / f"n{number % 2}" / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded_image((20 * number, 0, 99)))
    (tmp_path / "images" / "n1" / "09.png").write_bytes((tmp_path / "images" / "n0" / "04.png").read_bytes())
    (tmp_path / "images" / "n1" / "11.png").write_bytes(b"text")
    return tmp_path / "images"


def contents(folder):
    source = open_source(a_stream("array_record", folder))
    return [source.record(index) for index in range(len(source))]


def test_manifest_and_log_tell_all(images, tmp_path):
    assert prepare_array_records(a_stream("images", images), tmp_path / "out", 3, version="1.2").written == 10
    told = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert told["records"] == told["frames"] == 10 and told["encoding"] == "original bytes"
    assert (told["codecs"], told["frame_sizes"], told["classes"]) == ({"png": 10}, {"24x20": 10}, ["n0", "n1"])
    assert told["verdicts"] == {"kept": 10, "duplicate": 1, "unreadable": 1}
    assert told["bytes"] == sum(len(record.media) for record in contents(tmp_path / "out"))
    files = {path.name: path.stat().st_size for path in (tmp_path / "out").glob("*.array_record")}
    assert {one["name"]: one["bytes"] for one in told["shards"]} == files and len(files) == 3
    assert sum(one["records"] for one in told["shards"]) == 10
    assert told["source"]["path"] == str(images) and told["made by"] == "tokjax 1.2"
    assert told["source"]["fingerprint"] == open_source(a_stream("images", images)).fingerprint()
    rows = {row["id"]: row for row in map(json.loads, (tmp_path / "out" / "verdicts.jsonl").read_text().splitlines())}
    assert list(rows) == sorted(rows) and len(rows) == 12
    assert rows["n1/09.png"]["verdict"] == "duplicate" and rows["n1/09.png"]["reason"] == "has the bytes of n0/04.png"
    assert rows["n1/11.png"]["verdict"] == "unreadable"


def test_labels_go_with_the_records(images, tmp_path):
    prepare_array_records(a_stream("images", images), tmp_path / "out", 2)
    assert {record.id: record.label for record in contents(tmp_path / "out")} == {
        f"n{number % 2}/{number:02d}.png": number % 2 for number in range(12) if number not in (9, 11)
    }
    record = Record("a@1-2", "video", b"xyz", 7, 1.0, 2.0)
    assert unpack(pack(record)) == record


def test_workers_write_the_same_bytes(images, tmp_path):
    for workers in (1, 2):
        prepare_array_records(a_stream("images", images), tmp_path / f"{workers}", 4, workers=workers)
    both = [{path.name: path.read_bytes() for path in (tmp_path / f"{workers}").iterdir()} for workers in (1, 2)]
    assert both[0] == both[1] and len(both[0]) == 6


def test_a_fingerprint_tells_other_contents_of_the_same_size(images, tmp_path):
    prepare_array_records(a_stream("images", images), tmp_path / "a", 1)
    path = images / "n0" / "00.png"
    other = bytearray(path.read_bytes())
    (images / "n0" / "00.png").write_bytes(encoded_image((1, 0, 99)))
    assert len((images / "n0" / "00.png").read_bytes()) == len(other)
    prepare_array_records(a_stream("images", images), tmp_path / "b", 1)
    prints = [open_source(a_stream("array_record", tmp_path / name)).fingerprint() for name in "ab"]
    sizes = [sum(path.stat().st_size for path in (tmp_path / name).glob("*.array_record")) for name in "ab"]
    assert prints[0] != prints[1] and sizes[0] == sizes[1]


def test_what_was_finished_before_an_error_is_not_done_again(images, tmp_path, monkeypatch):
    stream, done, real = a_stream("images", images), [], prepare.write_shards

    def fails(tasks, rules, workers, progress):
        real(tasks[:2], rules, workers, progress)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepare, "write_shards", fails)
    with pytest.raises(OSError, match="No space left"):
        prepare_array_records(stream, tmp_path / "out", 4)
    assert not (tmp_path / "out").exists()

    def noted(tasks, *rest):
        done.extend(path.name for _, path in tasks)
        real(tasks, *rest)

    monkeypatch.setattr(prepare, "write_shards", noted)
    prepare_array_records(stream, tmp_path / "out", 4)
    assert [name[7:12] for name in done] == ["00002", "00003"]
    prepare_array_records(stream, tmp_path / "whole", 4)
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "out").iterdir()) and len(names) == 6
    assert all((tmp_path / "whole" / name).read_bytes() == (tmp_path / "out" / name).read_bytes() for name in names)


def test_another_plan_begins_anew(images, tmp_path, monkeypatch):
    def fails(*_):
        raise OSError(5, "failed")

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "_without_duplicates", fails)
        with pytest.raises(OSError, match="failed"):
            prepare_array_records(a_stream("images", images), tmp_path / "out", 4)
    left = tmp_path / ".out.partial"
    assert len(list(left.glob("*.array_record"))) == 4
    (images / "n0" / "02.png").unlink()
    prepare_array_records(a_stream("images", images), tmp_path / "out", 2)
    assert len(list((tmp_path / "out").iterdir())) == 4 and not left.exists()
    assert [record.id for record in contents(tmp_path / "out")] == [
        *("n0/00.png", "n0/04.png", "n0/06.png", "n0/08.png", "n0/10.png"),
        *("n1/01.png", "n1/03.png", "n1/05.png", "n1/07.png"),
    ]


SLOWLY = """
import sys, time
from tokjax.data import shards
from tokjax.data.prepare import prepare_array_records
real = shards.examine
def slow(*args):
    time.sleep(0.05)
    return real(*args)
shards.examine = slow
print("begins", flush=True)
stream = {"kind": "images", "path": sys.argv[1], "table": "", "split": ""}
prepare_array_records(stream, sys.argv[2], 6)
"""


def test_kill_9_leaves_no_half_written_shard(images, tmp_path):
    for number in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", SLOWLY, str(images), str(tmp_path / "out")], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "begins\n"
        time.sleep(0.15 + 0.12 * number)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        partial = tmp_path / ".out.partial"
        for path in partial.glob("*.array_record"):
            found = shards.finished_rows(path)
            assert found is None or len(found) == 2
        if (tmp_path / "out").exists():
            break
    if not (tmp_path / "out").exists():
        prepare_array_records({"kind": "images", "path": str(images), "table": "", "split": ""}, tmp_path / "out", 6)
    prepare_array_records(a_stream("images", images), tmp_path / "whole", 6)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


FULL = """
import resource, signal, sys
from tokjax import cli
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))  # a limit on the size of a file stands in for it
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_full_disk_is_one_line_and_the_same_command_continues(tmp_path):
    (tmp_path / "images").mkdir()
    for number, side in enumerate((8, 9, 10, 300)):
        noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "images" / f"{number}.png")
    command = [
        "prepare",
        "images",
        str(tmp_path / "images"),
        "--output",
        str(tmp_path / "out"),
        "--shards",
        "4",
        "--workers",
        "1",
    ]
    run = subprocess.run([sys.executable, "-c", FULL, *command], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 1 and not (tmp_path / "out").exists(), run.stderr
    assert run.stderr.splitlines()[-1].startswith("tokjax: ") and "Traceback" not in run.stderr
    assert "is the disk full? The same command continues" in run.stderr
    partial = tmp_path / ".out.partial"
    before = {path.name: path.stat().st_mtime_ns for path in partial.glob("*.array_record")}
    assert len(before) == 3
    again = subprocess.run([sys.executable, "-m", "tokjax.cli", *command], cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.array_record")}
    assert before.items() <= after.items() and len(after) == 4


def test_a_worker_that_fails_ends_the_others(images, tmp_path, monkeypatch):
    monkeypatch.setattr(Rules, "__reduce__", lambda self: (_fails_when_read, ()))
    with pytest.raises(WorkerError, match="a worker ended with code 1; the same command continues"):
        prepare_array_records(a_stream("images", images), tmp_path / "out", 4, workers=2)
    assert not multiprocessing.active_children()


def _fails_when_read():
    raise RuntimeError("as a broken installation would")


def test_errors_of_a_worker_keep_their_words(tmp_path, monkeypatch):
    monkeypatch.setattr(pool.signal, "signal", lambda *_: None)
    for error, told in ((OSError(28, "No space left", "a"), "[Errno 28] No space left: 'a'"), (OSError("odd"), "odd")):

        def fails(*_, error=error):
            raise error

        monkeypatch.setattr(pool, "write_shard", fails)
        waiting, reports = queue.Queue(), queue.Queue()
        waiting.put((None, tmp_path))
        pool._work(waiting, reports, Rules())
        assert str(reports.get()[2]) == told


def test_the_lock_is_held_until_the_folder_has_its_name(tmp_path, monkeypatch):
    """Else somebody who comes just then would take it for one that nobody is writing, and empty it."""
    real, seen = Path.rename, []

    def rename(path, target):
        with pytest.raises(DataError, match="another process is writing"), resumable_folder(tmp_path / "out", {}):
            pass
        seen.append(sorted(one.name for one in path.iterdir()))
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    with resumable_folder(tmp_path / "out", {}) as folder:
        (folder / "a").write_text("a")
    assert seen == [[".lock", "a"]] and [one.name for one in (tmp_path / "out").iterdir()] == ["a"]


def test_a_label_that_a_list_changes_begins_anew_and_changes_the_fingerprint(images, tmp_path):
    prints = []
    for label in (1, 2):
        (tmp_path / "list.txt").write_text(f"n0/00.png {label}\n")
        prepare_array_records(a_stream("images", images, table=str(tmp_path / "list.txt")), tmp_path / f"{label}", 1)
        assert contents(tmp_path / f"{label}")[0].label == label
        prints.append(json.loads((tmp_path / f"{label}" / "manifest.json").read_text())["fingerprint"])
    assert prints[0] != prints[1]


def test_names_that_are_not_unicode_are_packed_and_printed(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    for number, content in enumerate((encoded_image((1, 2, 3)), b"text")):
        (tmp_path / "images" / os.fsdecode(b"caf\xe9%d.png" % number)).write_bytes(content)
    assert main(["prepare", "images", str(tmp_path / "images"), "--output", str(tmp_path / "out"), "--workers", "1"]) == 0
    assert "left out caf\\udce91.png: unreadable" in capsys.readouterr().out
    assert [os.fsencode(record.id) for record in contents(tmp_path / "out")] == [b"caf\xe90.png"]


def test_two_at_once_are_refused(images, tmp_path):
    import fcntl

    (tmp_path / ".out.partial").mkdir()
    with open(tmp_path / ".out.partial" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"another process is writing .*out now"):
            prepare_array_records(a_stream("images", images), tmp_path / "out", 2)
    assert prepare_array_records(a_stream("images", images), tmp_path / "out", 2).written == 10


def test_videos_that_are_too_short_or_only_partly_meant(tmp_path):
    for name, frames in {"long.mp4": 60, "short.mp4": 8}.items():
        (tmp_path / "v" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "v" / name).write_bytes(barcode_video(frames, g="10"))
    (tmp_path / "t.csv").write_text("label,youtube_id,time_start,time_end\na,long,0.5,1.5\nb,short,0,1\na,long,5,6\nb,no,0,1\n")
    stream = a_stream("videos", tmp_path / "v", table=str(tmp_path / "t.csv"))
    written, left_out = prepare_array_records(stream, tmp_path / "out", 1, rules=Rules(min_frames=17))
    assert written == 1 and left_out == [
        ("short.mp4@0-1", "too short: has 8 frames, fewer than 17"),
        ("long.mp4@5-6", "too short: has no frame from 5 to 6 seconds"),
        ("no", "missing: there is neither a file no_000000_000001.* nor no.*"),
    ]
    (record,) = contents(tmp_path / "out")
    assert (record.id, record.label, record.begin, record.end) == ("long.mp4@0.5-1.5", 0, 0.5, 1.5)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["frames"] == 30 and manifest["codecs"] == {"h264": 1} and manifest["frame_sizes"] == {"160x64": 1}


def test_the_manifest_tells_how_media_of_any_source_were_encoded(images, tmp_path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a.mp4").write_bytes(barcode_video(4))
    told, smaller = [], Rules(Encoding(short_side=16, gop=2))
    for kind, place in (("images", images), ("videos", tmp_path / "v")):
        shards_of = tmp_path / f"shards of {kind}"
        prepare_array_records(a_stream(kind, place), shards_of, 1)
        prepare_array_records(a_stream("array_record", shards_of), tmp_path / f"small {kind}", 1, rules=smaller)
        told.append(json.loads((tmp_path / f"small {kind}" / "manifest.json").read_text())["encoding"])
    assert told[0] == {"codec": "jpeg", "quality": 95, "short_side": 16, "gop": 2}
    assert told[1] == {"codec": "h264", "crf": 18, "short_side": 16, "gop": 2}


def test_a_kill_while_duplicates_are_taken_out_of_a_shard(images, tmp_path, monkeypatch):
    """The shard is new, but its verdicts are still the old: it is written anew."""
    real = shards._write_rows

    def killed(path, rows):
        if any(row["verdict"] == "duplicate" for row in rows):
            raise KeyboardInterrupt
        real(path, rows)

    with monkeypatch.context() as patch:
        patch.setattr(shards, "_write_rows", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare_array_records(a_stream("images", images), tmp_path / "out", 2)
    finished = [shards.finished_rows(path) for path in sorted((tmp_path / ".out.partial").glob("*.array_record"))]
    assert finished[0] is not None and finished[1] is None
    prepare_array_records(a_stream("images", images), tmp_path / "out", 2)
    prepare_array_records(a_stream("images", images), tmp_path / "whole", 2)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole") and len(contents(tmp_path / "out")) == 10


def test_the_folder_that_one_is_in_is_no_output(images, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    for output in (Path("."), tmp_path / "out"):
        with pytest.raises(DataError, match="the output is the folder that you are in, which cannot be replaced"):
            prepare_array_records(a_stream("images", images), output, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "out"]


def test_no_more_workers_start_than_there_are_shards(images, tmp_path, monkeypatch):
    process, started = type(multiprocessing.get_context("spawn")).Process, []
    real = process.start
    monkeypatch.setattr(process, "start", lambda self: (started.append(self), real(self)))
    prepare_array_records(a_stream("images", images), tmp_path / "out", 2, workers=5)
    assert len(started) == 2


def test_an_encoding_that_cannot_work_is_refused():
    with pytest.raises(DataError, match="--short-side must be even and --gop positive, not 99 and 0"):
        Encoding(99)
