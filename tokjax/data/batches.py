"""What a run draws from: batches read a little ahead, the records that could not be used, and how the reading keeps up."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tokjax.data.ahead import Ahead
from tokjax.data.clips import SHORT, TRIES
from tokjax.data.records import DataError
from tokjax.data.sources import Source

MOST_ROWS = 10_000  # of bad records, and of slow ones, that are kept; all bad ones are counted


class Batch(NamedTuple):
    """One step's data on this host.

    Attributes:
      stream: its stream's name.
      video: uint8 [b,t,h,w,3].
      ids: of the records, [b].
      labels: int32 [b], the numbers of their classes, -1 where a record has none.
    """

    stream: str
    video: np.ndarray
    ids: list[str]
    labels: np.ndarray


class Batches:
    """The training batches of this host, endless.

    Attributes:
      bad: the first `MOST_ROWS` bad records met so far, dicts of stream, id, verdict and reason.
      slow: as many records that took long, dicts of stream, id and seconds.
      fingerprints: by stream, of its source.
    """

    def __init__(self, batches: Any, sources: Mapping[str, Source], bad_share: float, slow_seconds: float) -> None:
        self.fingerprints = {name: source.fingerprint() for name, source in sources.items()}
        self._sizes = {name: len(source) for name, source in sources.items()}
        self._limits = {name: max(1, bad_share * size) for name, size in self._sizes.items()}
        self._slow_seconds = slow_seconds
        self._known: dict[str, set[str]] = {name: set() for name in sources}
        self._unusable: Counter[str] = Counter()
        self._verdicts: Counter[str] = Counter()
        self._slow_known: set[tuple[str, str]] = set()
        self.bad: list[dict[str, str]] = []
        self.slow: list[dict[str, Any]] = []
        self._ahead = Ahead(iter(batches))

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Batch:
        """Raises DataError where too many records are bad, RuntimeError where a worker died."""
        batch = next(self._ahead)
        name = batch["stream"]
        for row in batch["bad"]:
            self._count(name, *row)
        if "video" not in batch:
            record, _, reason = batch["bad"][-1]
            raise DataError(f"stream {name!r}: {TRIES} records drawn cannot be used, the last is {record}: {reason}")
        self._time(name, batch)
        return Batch(name, batch["video"], batch["ids"], np.asarray(batch["labels"], np.int32))

    def _count(self, stream: str, record: str, verdict: str, reason: str) -> None:
        """Videos that the stream is told to pass over do not end a run."""
        known = self._known[stream]
        if record in known:
            return
        known.add(record)
        self._verdicts[verdict] += 1
        if len(self.bad) < MOST_ROWS:
            logging.warning("stream %r: %s is left out: %s", stream, record, reason)
            self.bad.append({"stream": stream, "id": record, "verdict": verdict, "reason": reason})
        self._unusable[stream] += verdict != SHORT
        if self._unusable[stream] > self._limits[stream]:
            raise DataError(
                f"stream {stream!r}: {self._unusable[stream]} of its {self._sizes[stream]} records cannot be used, which is more "
                f"than config.data.bad_share allows; the last is {record}: {reason}"
            )

    def _time(self, stream: str, batch: Mapping[str, Any]) -> None:
        for record, seconds in zip(batch["ids"], batch["seconds"], strict=True):
            if seconds > self._slow_seconds and (stream, record) not in self._slow_known and len(self.slow) < MOST_ROWS:
                self._slow_known.add((stream, record))
                self.slow.append({"stream": stream, "id": record, "seconds": round(seconds, 3)})

    def health(self) -> dict[str, float]:
        """Scalars for telemetry: batches that lay ready when one was asked for, on average since the last call, and how many
        different bad records there were so far, in all and by verdict."""
        counts = sorted(self._verdicts.items())
        by_verdict = {f"bad_records/{verdict.replace(' ', '_')}": float(count) for verdict, count in counts}
        return {"queue_depth": self._ahead.mean_depth(), "bad_records": float(self._verdicts.total()), **by_verdict}

    def close(self) -> None:
        """Ends the workers."""
        self._ahead.close()
