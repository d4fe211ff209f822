"""How fast streams are read: through the loader, and in a bare loop over the same bytes, taking turns."""

from __future__ import annotations

import contextlib
import io
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from tokjax.data.containers import reading, video_stream
from tokjax.data.pipeline import training_batches
from tokjax.data.records import BadRecord, DataError, Record
from tokjax.data.sources import OpenOnce, Source

Streams = Mapping[str, Mapping[str, Any]]
FAR = 1_000_000  # a step to restart at
DRAINED = 12  # batches that workers and queues may hold ready, and more


def measure(
    streams: Streams, workers: Sequence[int], *, batches: int, repeats: int, progress: Callable[[], None]
) -> list[dict[str, Any]]:
    """Rows of `work`, `workers` and medians over the repeats, each repeat doing every work in turn.

    The bare loop decodes, with PyAV or Pillow in one thread of this process, as many clips of each stream as `batches` batches
    hold, from random starts; it neither resizes nor crops. A row of the loader has
      clips_per_second, steps_per_second, megabytes_per_second (of encoded media), of_bare (its clips per second over those of the
      bare loop), and first_batch_seconds and first_batch_at_1000000_seconds, from open sources to the first
      batch, once.

    Args:
      workers: process counts, as of `config.data.workers`.
    """
    open_with = OpenOnce()
    sources = {name: open_with(dict(stream)) for name, stream in streams.items()}
    counts = _clips_of_each(streams, batches)
    clips, megabytes = sum(counts.values()), _megabytes(sources, counts)
    bare, loaded = [], {count: [] for count in workers}
    starts = {count: [_first_batch(streams, count, start, open_with) for start in (0, FAR)] for count in workers}
    for repeat in range(repeats):
        bare.append(clips / _bare_seconds(sources, streams, counts, repeat))
        progress()
        for count in workers:
            loaded[count].append(_loader_seconds(streams, count, batches, repeat, open_with))
            progress()
    rows = [{"work": "bare loop", "workers": 0, "clips_per_second": statistics.median(bare)}]
    rows[0]["megabytes_per_second"] = megabytes / clips * rows[0]["clips_per_second"]
    for count in workers:
        seconds = statistics.median(loaded[count])
        row = {"work": "loader", "workers": count, "clips_per_second": clips / seconds, "steps_per_second": batches / seconds}
        row |= {"megabytes_per_second": megabytes / seconds, "of_bare": clips / seconds / rows[0]["clips_per_second"]}
        row |= dict(zip(("first_batch_seconds", f"first_batch_at_{FAR}_seconds"), starts[count], strict=True))
        rows.append(row)
    return rows


def _clips_of_each(streams: Streams, batches: int) -> dict[str, int]:
    """Clips of each stream in so many batches, on average."""
    weights = sum(stream["weight"] for stream in streams.values())
    return {name: max(1, round(batches * stream["weight"] / weights * stream["batch"])) for name, stream in streams.items()}


def _megabytes(sources: Mapping[str, Source], counts: Mapping[str, int]) -> float:
    """Encoded media of so many records of each, from the mean size."""
    return sum(sources[name].size() / len(sources[name]) * count for name, count in counts.items()) / 1e6


def _first_batch(streams: Streams, workers: int, start: int, open_with: OpenOnce) -> float:
    began = time.perf_counter()
    batches = training_batches(streams, seed=0, start=start, workers=workers, bad_share=1.0, open_with=open_with)
    with contextlib.closing(batches):
        next(batches)
        return time.perf_counter() - began


def _loader_seconds(streams: Streams, workers: int, count: int, seed: int, open_with: OpenOnce) -> float:
    """For `count` batches, after those that were ready before the clock started."""
    batches = training_batches(streams, seed=seed, workers=workers, bad_share=1.0, open_with=open_with)
    with contextlib.closing(batches):
        for _ in range(DRAINED * max(1, workers)):
            next(batches)
        began = time.perf_counter()
        for _ in range(count):
            next(batches)
        return time.perf_counter() - began


def _bare_seconds(sources: Mapping[str, Source], streams: Streams, counts: Mapping[str, int], seed: int) -> float:
    rng, began = np.random.default_rng(seed), time.perf_counter()
    for name, count in counts.items():
        for index in rng.integers(len(sources[name]), size=count):
            try:
                bare_decode(sources[name].record(int(index)), streams[name]["frames"], rng)
            except (BadRecord, OSError) as error:
                reason = f"the bare loop cannot read a record of {streams[name]['path']}: {error}"
                raise DataError(f"{reason}; measure with data of which `tokjax prepare` has left out what is damaged") from error
    return time.perf_counter() - began


def bare_decode(record: Record, frames: int, rng: np.random.Generator) -> np.ndarray:
    """What anyone would write: neighbouring frames from a random start, from the key frame before it; uint8 [t,h,w,3]."""
    if record.kind == "image":
        with Image.open(io.BytesIO(record.media)) as image:
            return np.asarray(image.convert("RGB"))[None]
    with reading(record.media) as container:
        stream = video_stream(container)
        start = int(rng.integers(max(1, stream.frames - frames + 1)))
        stamp = round(start / stream.average_rate / stream.time_base) + (stream.start_time or 0)
        container.seek(stamp, stream=stream)
        found: list[np.ndarray] = []
        for frame in container.decode(stream):
            if frame.pts >= stamp:
                found.append(frame.to_ndarray(format="rgb24"))
            if len(found) == frames:
                break
    if not found:
        raise BadRecord(f"{record.id} has no frame where it should; its frame rate may vary")
    return np.stack(found)
