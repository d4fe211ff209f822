"""The fixed order of evaluation data: every record once, or every whole video in clips that follow each other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np

from tokjax.data.clips import read_clip
from tokjax.data.decode import frame_times
from tokjax.data.frames import whole_video
from tokjax.data.records import BadRecord, DataError
from tokjax.data.sources import Source, open_source


def evaluation_batches(
    stream: Mapping[str, Any], *, host: int = 0, hosts: int = 1, open_with: Callable[[dict[str, Any]], Source] = open_source
) -> EvaluationBatches:
    """Every record of a stream once, in order, from its first frame on, cropped at the centre, not flipped.

    Args:
      stream: a plain dict with the keys of `tokjax.config.stream`; with `whole`, all clips of each video, whose ids end in #0,
        #1, ..., and whose number takes one reading of all records to know.
      host, hosts: this host gets the `host`-th of `hosts` equal parts of every batch.
      open_with: as of `tokjax.data.pipeline.training_batches`.

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

    @cached_property
    def _plan(self) -> range | list[tuple[int, int]]:
        """What is to be read: positions of records, or (position, number of the clip in the video)."""
        if not self._stream["whole"]:
            return range(len(self._source))
        return [(index, number) for index in range(len(self._source)) for number in range(self._clips(index))]

    def _clips(self, index: int) -> int:
        """How many clips a video makes; one that makes none has one place, in which it will be found bad."""
        try:
            times = frame_times(self._source.record(index))
        except BadRecord:
            return 1
        how = (self._stream[key] for key in ("frames", "frame_rate", "frame_rule", "stride"))
        return max(1, len(whole_video(times, *how, drop=self._stream["short_clips"] == "drop")))

    def __len__(self) -> int:
        return -(-len(self._plan) // self._stream["batch"])

    def __iter__(self) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
        """Decodes one batch ahead. Raises DataError at the end where no record could be used."""
        self.bad, good = [], 0
        side = self._stream["resolution"]
        filler = np.zeros((self._stream["frames"], side, side, 3), np.uint8)
        batches = len(self)  # before the thread begins, which would make the same plan once more
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self._read, 0)
            for number in range(batches):
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
        return [self._row(place) for place in range(begin, begin + self._local)]

    def _row(self, place: int) -> tuple[str, np.ndarray | None]:
        if place >= len(self._plan):
            return "", None
        index, number = self._plan[place] if self._stream["whole"] else (place, None)
        try:
            record, clip = read_clip(self._source, index, self._stream, number=number)
            return record.id if number is None else f"{record.id}#{number}", clip
        except BadRecord as error:
            logging.warning("%s: %s is left out: %s", self._stream["path"], error.id, error)
            self.bad.append({"id": error.id, "reason": str(error)})
            return "", None
