"""One record becomes one clip, as its stream wants it; a bad record is replaced by another, drawn by the same sample."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import grain
import numpy as np

from tokjax.data.decode import decode
from tokjax.data.frames import first, frame_indices, is_short, middle, whole_video
from tokjax.data.parent import end_with_parent
from tokjax.data.records import BadRecord, Record
from tokjax.data.sources import Source
from tokjax.data.tokens import tokens_of
from tokjax.data.transforms import transform

SHORT = "shorter than a clip"  # the verdict on videos that a stream with short_clips="drop" passes over
TRIES = 16  # records drawn in place of bad ones before a sample is given up


def read_clip(
    source: Source, index: int, stream: Mapping[str, Any], rng: np.random.Generator | None = None, number: int | None = None
) -> tuple[Record, np.ndarray]:
    """One record as the stream wants it.

    Args:
      rng: None for evaluation: the clip starts with the video (with OmniTokenizer's rule it lies in its middle), and its crop
        is not drawn.
      number: of the clip, where a whole video is taken in clips that follow each other.

    Returns:
      (the record, uint8 [t,h,w,3]); of a cache, the record and its tokens.

    Raises:
      BadRecord: with its id.
    """
    record = source.record(index)
    try:
        if record.kind == "tokens":
            return record, tokens_of(record)
        if record.kind == "image" and stream["frames"] > 1:
            raise BadRecord(f"is an image, but the stream's clips have {stream['frames']} frames")
        clip = decode(record, lambda times: _chosen(times, stream, rng, number))
        return record, transform(clip, stream, rng)
    except BadRecord as error:
        error.id = record.id
        raise


def _chosen(times: np.ndarray, stream: Mapping[str, Any], rng: np.random.Generator | None, number: int | None) -> np.ndarray:
    frames, rate, rule, stride = (stream[key] for key in ("frames", "frame_rate", "frame_rule", "stride"))
    drop = stream["short_clips"] == "drop"
    if number is not None:
        clips = whole_video(times, frames, rate, rule, stride, drop)
        if len(clips):
            return clips[number]
    elif not drop or not is_short(times, frames, rate, rule, stride):
        pick = (middle if rule == "omnitokenizer" else first) if rng is None else lambda count: int(rng.integers(count))
        return frame_indices(times, frames, rate, rule, pick, stride)
    raise BadRecord(f"has {len(times)} frames in {times[-1]:.2f} seconds, too few for a clip", verdict=SHORT)


class Sample(grain.transforms.RandomMap):
    """From a record's position to its clip; the replacement of a bad record is drawn with the sample's own generator."""

    def __init__(self, source: Source, stream: dict[str, Any]) -> None:
        self.source, self.stream = source, stream

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Where a worker gets it: grain's workers would outlive a killed process."""
        self.__dict__ |= state
        end_with_parent()

    def random_map(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """`id`, `label` (-1: none), `video` and `seconds`; without them where no record could be used; and the `bad` ones."""
        bad, began = [], time.perf_counter()
        for _ in range(TRIES):
            try:
                record, clip = read_clip(self.source, int(index), self.stream, rng)
                label = -1 if record.label is None else record.label
                return {"id": record.id, "label": label, "video": clip, "bad": bad, "seconds": time.perf_counter() - began}
            except BadRecord as error:
                bad.append((error.id, error.verdict, str(error)))
            index, began = rng.integers(len(self.source)), time.perf_counter()
        return {"bad": bad}
