"""The order of training data, as a function of (seed, step) alone, and the fixed order of evaluation data.

Each stream is an endless list of samples addressed by position: shuffled anew in every pass, decoded and cropped with the random
generator of that position, cut into batches; then the streams are mixed. So a run restarts at any step at once, and neither the
number of workers nor the number of hosts changes what a step sees.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import grain
import numpy as np
from absl import flags

from tokjax.data.decode import decode
from tokjax.data.frames import first, frame_indices
from tokjax.data.sources import BadRecord, DataError, Source, open_source
from tokjax.data.transforms import transform

TRIES = 16  # records drawn in place of bad ones before a sample is given up


class Batch(NamedTuple):
    """One step's data on this host.

    Attributes:
      stream: its stream's name.
      video: uint8 [b,t,h,w,3].
      ids: of the records, [b].
    """

    stream: str
    video: np.ndarray
    ids: list[str]


class Batches:
    """The training batches of this host, endless.

    Attributes:
      bad: the bad records met so far, dicts of stream, id and reason.
      fingerprints: by stream, of its source.
    """

    def __init__(self, batches: Any, sources: Mapping[str, Source], bad_share: float) -> None:
        self._iterator = iter(batches)
        self._limits = {name: max(1, bad_share * len(source)) for name, source in sources.items()}
        self._sizes = {name: len(source) for name, source in sources.items()}
        self.fingerprints = {name: source.fingerprint() for name, source in sources.items()}
        self._known: dict[str, set[str]] = {name: set() for name in sources}
        self.bad: list[dict[str, str]] = []

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Batch:
        """Raises DataError where too many records are bad, RuntimeError where a worker died."""
        batch = next(self._iterator)
        for record, reason in batch["bad"]:
            self._count(batch["stream"], record, reason)
        if "video" not in batch:
            record, reason = batch["bad"][-1]
            raise DataError(f"stream {batch['stream']!r}: {TRIES} records drawn cannot be used, the last is {record}: {reason}")
        return Batch(batch["stream"], batch["video"], batch["ids"])

    def _count(self, stream: str, record: str, reason: str) -> None:
        known = self._known[stream]
        if record in known:
            return
        known.add(record)
        logging.warning("stream %r: %s is left out: %s", stream, record, reason)
        self.bad.append({"stream": stream, "id": record, "reason": reason})
        if len(known) > self._limits[stream]:
            raise DataError(
                f"stream {stream!r}: {len(known)} of its {self._sizes[stream]} records cannot be used, which is more than "
                f"config.data.bad_share allows; the last is {record}: {reason}"
            )

    def close(self) -> None:
        """Ends the workers."""
        self._iterator.close()


def training_batches(
    streams: Mapping[str, Mapping[str, Any]],
    *,
    seed: int,
    start: int = 0,
    host: int = 0,
    hosts: int = 1,
    workers: int = 0,
    bad_share: float,
    open_with: Callable[[dict[str, Any]], Source] = open_source,
) -> Batches:
    """The batches from step `start` on.

    Args:
      streams: by name, plain dicts with the keys of `tokjax.config.stream`. A stream's order depends on its name, not on others.
      seed: of the order and of every crop and flip.
      host, hosts: this host gets the `host`-th of `hosts` equal parts of every batch.
      workers: processes that decode; 0 decodes in threads.
      bad_share: more than this share of a stream's records being bad ends the run.
      open_with: gives the source of a stream, as `tokjax.data.sources.OpenOnce` does for sources that are open already.

    Raises:
      DataError: a source without records, or a batch that the hosts do not divide.
    """
    for name, stream in streams.items():
        if stream["batch"] % hosts:
            raise DataError(f"stream {name!r}: its batch of {stream['batch']} cannot be divided among {hosts} hosts")
    sources = {name: open_with(dict(stream)) for name, stream in streams.items()}
    parts = [_stream_batches(name, sources[name], dict(stream), seed, host, hosts) for name, stream in streams.items()]
    mixed = grain.MapDataset.mix(parts, weights=[stream["weight"] for stream in streams.values()])[start:]
    threads = 1 if workers else min(8, os.cpu_count() or 1)
    batches = mixed.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 1))
    if workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # grain's workers copy absl's flags, which only absl.app parses
        batches = batches.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2))
    return Batches(batches, sources, bad_share)


def _stream_batches(name: str, source: Source, stream: dict[str, Any], seed: int, host: int, hosts: int) -> grain.MapDataset:
    """Batches of this host; the batches of all hosts are cut from one list, in turn, so that together they are one batch."""
    own_seed = int(np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1)[0])
    samples = grain.MapDataset.range(len(source)).seed(own_seed).shuffle().repeat()
    samples = samples.random_map(_Sample(source, stream))
    return samples.batch(stream["batch"] // hosts, drop_remainder=True, batch_fn=partial(_collate, name))[host::hosts]


class _Sample(grain.transforms.RandomMap):
    """From a record's position to its clip; a bad record is replaced by another, drawn with the sample's own generator."""

    def __init__(self, source: Source, stream: dict[str, Any]) -> None:
        self.source, self.stream = source, stream

    def random_map(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        bad = []
        for _ in range(TRIES):
            try:
                name, clip = read_clip(self.source, int(index), self.stream, rng)
                return {"id": name, "video": clip, "bad": bad}
            except BadRecord as error:
                bad.append((error.id, str(error)))
            index = rng.integers(len(self.source))
        return {"bad": bad}


def _collate(name: str, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The batch, without `video` where a sample was given up."""
    batch = {"stream": name, "bad": [row for sample in samples for row in sample["bad"]]}
    if all("video" in sample for sample in samples):
        batch["video"] = np.stack([sample["video"] for sample in samples])
        batch["ids"] = [sample["id"] for sample in samples]
    return batch


def read_clip(
    source: Source, index: int, stream: Mapping[str, Any], rng: np.random.Generator | None = None
) -> tuple[str, np.ndarray]:
    """One record as the stream wants it.

    Args:
      rng: None for evaluation: the clip starts with the video, its crop is the centre.

    Returns:
      (id, uint8 [t,h,w,3]).

    Raises:
      BadRecord: with its id.
    """
    record = source.record(index)
    pick = first if rng is None else lambda count: int(rng.integers(count))
    try:
        if record.kind == "image" and stream["frames"] > 1:
            raise BadRecord(f"is an image, but the stream's clips have {stream['frames']} frames")
        frames, frame_rate, rule = stream["frames"], stream["frame_rate"], stream["frame_rule"]
        clip = decode(record, lambda times: frame_indices(times, frames, frame_rate, rule, pick))
    except BadRecord as error:
        error.id = record.id
        raise
    return record.id, transform(clip, stream, rng)


def evaluation_batches(
    stream: Mapping[str, Any], *, host: int = 0, hosts: int = 1, open_with: Callable[[dict[str, Any]], Source] = open_source
) -> EvaluationBatches:
    """Every record of a stream once, in order, from its first frame on, cropped at the centre, not flipped.

    Args:
      stream: a plain dict with the keys of `tokjax.config.stream`.
      host, hosts: this host gets the `host`-th of `hosts` equal parts of every batch.
      open_with: as of `training_batches`.

    Raises:
      DataError: a source without records, or a batch that the hosts do not divide.
    """
    if stream["batch"] % hosts:
        raise DataError(f"the batch of {stream['batch']} over {stream['path']} cannot be divided among {hosts} hosts")
    return EvaluationBatches(open_with(dict(stream)), stream, host, hosts)


class EvaluationBatches:
    """Batches (ids, uint8 video [b,t,h,w,3], valid bool [b]), a pass for each loop over it.

    A bad record's place, and what the last batch lacks, is filled with a copy of a clip, with the id "" and `valid` False. So
    batches are all of one size and all hosts have equally many.

    Attributes:
      bad: the bad records of the pass, dicts of id and reason.
    """

    def __init__(self, source: Source, stream: Mapping[str, Any], host: int, hosts: int) -> None:
        self._source, self._stream = source, stream
        self._local = stream["batch"] // hosts
        self._offset = host * self._local
        self.bad: list[dict[str, str]] = []

    def __len__(self) -> int:
        return -(-len(self._source) // self._stream["batch"])

    def __iter__(self) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
        """Decodes one batch ahead. Raises DataError at the end where no record could be used."""
        self.bad, good = [], 0
        side = self._stream["resolution"]
        filler = np.zeros((self._stream["frames"], side, side, 3), np.uint8)
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self._read, 0)
            for number in range(len(self)):
                rows, ahead = ahead.result(), pool.submit(self._read, number + 1)
                clips = [clip for _, clip in rows if clip is not None]
                good, filler = good + len(clips), clips[-1] if clips else filler
                video = np.stack([filler if clip is None else clip for _, clip in rows])
                yield [name for name, _ in rows], video, np.array([clip is not None for _, clip in rows])
        if self.bad and not good:
            last = self.bad[-1]
            raise DataError(f"no record of {self._stream['path']} can be used, the last is {last['id']}: {last['reason']}")

    def _read(self, number: int) -> list[tuple[str, np.ndarray | None]]:
        begin = number * self._stream["batch"] + self._offset
        return [self._row(index) for index in range(begin, begin + self._local)]

    def _row(self, index: int) -> tuple[str, np.ndarray | None]:
        if index >= len(self._source):
            return "", None
        try:
            return read_clip(self._source, index, self._stream)
        except BadRecord as error:
            logging.warning("%s: %s is left out: %s", self._stream["path"], error.id, error)
            self.bad.append({"id": error.id, "reason": str(error)})
            return "", None
