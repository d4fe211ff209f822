"""Smaller media with closer key frames: training then decodes fewer pixels and fewer frames before the first one it wants."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter
from PIL import Image

from tokjax.data.containers import reading, timeline
from tokjax.data.decode import add_h264, frames_in_order
from tokjax.data.images import decode_image
from tokjax.data.records import BadRecord, DataError, Record
from tokjax.data.transforms import resize, with_short_side

CRF, JPEG_QUALITY = 18, 95
_TICKS = 90_000  # a second, the clock of MPEG


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How media are encoded again; both 0 keeps the bytes as they are.

    Attributes:
      short_side: the shorter side in pixels, for media that are larger; 0 keeps the size.
      gop: most frames from one key frame to the next; 0 leaves it to the encoder. Videos only.
    """

    short_side: int = 0
    gop: int = 0

    def __post_init__(self) -> None:
        if self.short_side < 0 or self.short_side % 2 or self.gop < 0:
            raise DataError(f"--short-side must be even and --gop positive, not {self.short_side} and {self.gop}")

    def __bool__(self) -> bool:
        return bool(self.short_side or self.gop)


def reencode(record: Record, encoding: Encoding) -> Record:
    """The record in H.264 (crf 18) or, where it is larger than the short side, JPEG (quality 95); upright, cut to its part.

    Frames keep their times. The longer side is int(short side * longer / shorter), made even for videos.

    Raises:
      BadRecord: a frame cannot be decoded.
    """
    if record.kind == "image":
        return dataclasses.replace(record, media=_image(record.media, encoding.short_side))
    return dataclasses.replace(record, media=_video(record, encoding), begin=0.0, end=float("inf"))


def _image(media: bytes, short_side: int) -> bytes:
    pixels = decode_image(media)
    height, width = _size(*pixels.shape[1:3], short_side)
    if (height, width) == pixels.shape[1:3]:
        return media
    buffer = io.BytesIO()
    Image.fromarray(resize(pixels, height, width)[0]).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Never larger than it is."""
    if not short_side or min(height, width) <= short_side:
        return height, width
    return with_short_side(height, width, short_side)


def _video(record: Record, encoding: Encoding) -> bytes:
    buffer, clock = io.BytesIO(), Fraction(1, _TICKS)
    with av.open(buffer, "w", format="mp4") as container:
        stream, reformatter = None, VideoReformatter()
        for time, rate, pixels in _frames(record, encoding.short_side):
            if stream is None:
                stream = add_h264(container, pixels.shape, rate)
                stream.codec_context.time_base = clock
                stream.codec_context.gop_size = encoding.gop or stream.codec_context.gop_size
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture = reformatter.reformat(picture, format=stream.pix_fmt, dst_colorspace=Colorspace.ITU709, threads=1)
            picture.pts, picture.time_base = round(time * _TICKS), clock
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return buffer.getvalue()


def _frames(record: Record, short_side: int) -> Iterator[tuple[float, float, np.ndarray]]:
    """(time, average rate, uint8 [h,w,3]) of every frame of the part that is meant, resized."""
    with reading(record.media) as container:
        packets, times, stamps = timeline(container)
        rate = (len(times) - 1) / times[-1] if times[-1] else 1.0
        meant = np.flatnonzero((times >= record.begin) & (times < record.end))
        wanted = {stamps[index]: float(times[index] - times[meant[0]]) for index in meant}
        counted, shape = stamps if container.format.name == "avi" else None, None
        for stamp, pixels in frames_in_order(packets, counted):
            shape = shape or pixels.shape
            if pixels.shape != shape:
                raise BadRecord("changes its frame size", record.id)
            if stamp in wanted:
                yield wanted.pop(stamp), rate, _smaller(pixels, short_side)
        if wanted:
            raise BadRecord(f"{len(wanted)} of its frames cannot be decoded", record.id)


def _smaller(pixels: np.ndarray, short_side: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    size = _size(height, width, short_side)
    if size == (height, width):
        return np.ascontiguousarray(pixels)
    return resize(pixels[None], *(side - side % 2 for side in size))[0]
