"""The order of training data, as a function of (seed, step) alone, and the fixed order of evaluation data.

Each stream is an endless list of samples addressed by position: shuffled anew in every pass, decoded and cropped with the random
generator of that position, cut into batches; then the streams are mixed. So a run restarts at any step at once, and neither the
number of workers nor the number of hosts changes what a step sees.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import grain
import numpy as np
from absl import flags

from tokjax.data.batches import Batch, Batches
from tokjax.data.clips import Sample
from tokjax.data.passes import EvaluationBatches, evaluation_batches
from tokjax.data.records import DataError
from tokjax.data.sources import Source, open_source

__all__ = ["Batch", "Batches", "EvaluationBatches", "evaluation_batches", "training_batches"]


def training_batches(
    streams: Mapping[str, Mapping[str, Any]],
    *,
    seed: int,
    start: int = 0,
    host: int = 0,
    hosts: int = 1,
    workers: int = 0,
    bad_share: float,
    slow_seconds: float = float("inf"),
    open_with: Callable[[dict[str, Any]], Source] = open_source,
) -> Batches:
    """The batches from step `start` on.

    Args:
      streams: by name, plain dicts with the keys of `tokjax.config.stream`. A stream's order depends on its name, not on others.
      seed: of the order and of every crop and flip.
      host, hosts: this host gets the `host`-th of `hosts` equal parts of every batch.
      workers: processes that decode; 0 decodes in threads.
      bad_share: more than this share of a stream's records being bad ends the run.
      slow_seconds: records that take longer are listed in `Batches.slow`.
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
    return Batches(batches, sources, bad_share, slow_seconds)


def _stream_batches(name: str, source: Source, stream: dict[str, Any], seed: int, host: int, hosts: int) -> grain.MapDataset:
    """Batches of this host; the batches of all hosts are cut from one list, in turn, so that together they are one batch."""
    own_seed = int(np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1)[0])
    samples = grain.MapDataset.range(len(source)).seed(own_seed).shuffle().repeat()
    samples = samples.random_map(Sample(source, stream))
    return samples.batch(stream["batch"] // hosts, drop_remainder=True, batch_fn=partial(_collate, name))[host::hosts]


def _collate(name: str, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The batch, without `video` where a sample was given up."""
    batch = {"stream": name, "bad": [row for sample in samples for row in sample["bad"]]}
    if all("video" in sample for sample in samples):
        batch["video"] = np.stack([sample["video"] for sample in samples])
        for key, values in (("ids", "id"), ("labels", "label"), ("seconds", "seconds")):
            batch[key] = [sample[values] for sample in samples]
    return batch
