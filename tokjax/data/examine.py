"""A close look at one record: it can be decoded to its end, and what it is."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from tokjax.data.containers import reading
from tokjax.data.decode import decode
from tokjax.data.records import BadRecord, Record


class Facts(NamedTuple):
    """Attributes:
    codec: as FFmpeg or Pillow calls it.
    width, height: upright.
    frames, seconds: of the part that is meant; seconds from the first frame to the last.
    """

    codec: str
    width: int
    height: int
    frames: int
    seconds: float


def examine(record: Record, min_frames: int = 1) -> Facts:
    """Decodes an image, or a video's first frame and last.

    Raises:
      BadRecord: not decodable, or fewer frames than `min_frames`.
    """
    seen: list[np.ndarray] = []

    def ends(times: np.ndarray) -> list[int]:
        seen.append(times)
        if record.kind == "video" and len(times) < min_frames:
            raise BadRecord(f"has {len(times)} frames, fewer than {min_frames}", verdict="too short")
        return [0, len(times) - 1]

    height, width = decode(record, ends).shape[1:3]
    return Facts(_codec(record), width, height, len(seen[0]), round(float(seen[0][-1]), 3))


def _codec(record: Record) -> str:
    if record.kind == "image":
        with Image.open(io.BytesIO(record.media)) as image:
            return str(image.format).lower()
    with reading(record.media) as container:
        return container.streams.video[0].codec_context.name
