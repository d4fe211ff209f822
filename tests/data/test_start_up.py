"""Large sets: the first batch comes soon, at any step, and memory does not grow with the number of records."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from clips import a_stream, encoded_image

from tokjax.data.records import Record, pack
from tokjax.data.sources import ShardSource

FIRST_BATCH = """
import json, resource, sys, time
from tokjax.data.pipeline import training_batches
stream, start = json.loads(sys.argv[1]), int(sys.argv[2])
began = time.perf_counter()
batches = training_batches({"s": stream}, seed=0, start=start, bad_share=0.1)
next(batches)
seconds = time.perf_counter() - began
batches.close()
print(json.dumps({"seconds": seconds, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def written(folder, records, shards):
    """A set of that many small images."""
    media = encoded_image((9, 99, 199), (8, 8))
    folder.mkdir()
    for shard in range(shards):
        writer = ArrayRecordWriter(str(folder / f"s-{shard:05d}.array_record"), "group_size:1")
        for number in range(records // shards):
            writer.write(pack(Record(f"{shard}/{number}.png", "image", media)))
        writer.close()
    return a_stream("array_record", folder, batch=8)


def first_batch(stream, start=0):
    command = [sys.executable, "-c", FIRST_BATCH, json.dumps(stream), str(start)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    return json.loads(run.stdout)


@pytest.mark.slow
def test_start_up_and_memory_with_many_records(tmp_path):
    """Seconds of a quick machine are far below the bound, which is the promise."""
    small, large, huge = (written(tmp_path / f"{count}", count, 10) for count in (1_000, 100_000, 1_000_000))
    found = {name: first_batch(stream) for name, stream in (("1,000", small), ("100,000", large), ("1,000,000", huge))}
    far = first_batch(large, 1_000_000)
    print(json.dumps(found | {"100,000 at step 1,000,000": far}))
    assert found["100,000"]["seconds"] < 5 and far["seconds"] < found["100,000"]["seconds"] + 1
    assert found["1,000,000"]["megabytes"] - found["1,000"]["megabytes"] < 100


def test_a_source_sent_to_a_worker_is_small_and_opens_at_once(tmp_path):
    import pickle

    source = ShardSource(written(tmp_path / "s", 2000, 2)["path"])
    sent = pickle.dumps(source)
    assert len(sent) < 1000
    began = time.perf_counter()
    assert pickle.loads(sent).record(1999).id == "1/999.png"
    assert time.perf_counter() - began < 2


def test_shards_in_a_bucket_are_listed_with_their_sizes(tmp_path, monkeypatch):
    """etils answers for the bucket as if it were a folder here; array_record reads gs:// by itself."""
    from etils import epath

    written(tmp_path / "bucket", 20, 2)
    stats = epath.stat_utils.StatResult

    def here(path):
        return tmp_path / str(path).removeprefix("gs://")

    with epath.testing.mock_epath(
        glob=lambda _, pattern: [f"gs://bucket/{one.name}" for one in here(pattern).parent.glob(here(pattern).name)],
        isdir=lambda _, path: here(path).is_dir(),
        exists=lambda _, path: here(path).exists(),
        stat=lambda _, path: stats(is_directory=False, length=here(path).stat().st_size, mtime=0),
    ):
        monkeypatch.setattr(ShardSource, "__len__", lambda self: 20)
        for pattern in ("gs://bucket/*.array_record", "gs://bucket"):
            source = ShardSource(pattern)
            assert source.paths == ["gs://bucket/s-00000.array_record", "gs://bucket/s-00001.array_record"]
            assert source.size() == sum(path.stat().st_size for path in (tmp_path / "bucket").iterdir())
        assert source.fingerprint() == ShardSource("gs://bucket").fingerprint()
