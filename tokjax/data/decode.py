"""Encoded bytes become uint8 frames. What cannot be decoded raises BadRecord; no frame is ever made up."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from PIL import Image

from tokjax.data.containers import opened, reading, rgb_array, timeline
from tokjax.data.images import decode_image
from tokjax.data.lists import IMAGE_SUFFIXES
from tokjax.data.records import BadRecord, DataError, Record

_WRITTEN = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}

Choose = Callable[[np.ndarray], Sequence[int]]


def decode(record: Record, choose: Choose) -> np.ndarray:
    """The chosen frames of a record; an image is one frame at time 0.

    Returns:
      uint8 [t,h,w,3].

    Raises:
      BadRecord
    """
    if record.kind == "video":
        return decode_clip(record.media, _within(choose, record))
    frames = decode_image(record.media)
    return frames[np.asarray(choose(np.zeros(1)))]


def frame_times(record: Record) -> np.ndarray:
    """The times of a record's frames in seconds after the first, float64 [n], without decoding. Raises BadRecord."""
    seen: list[np.ndarray] = [np.zeros(1)]
    if record.kind == "video":
        with reading(record.media) as container:
            _within(lambda times: seen.append(times) or [0], record)(timeline(container)[1])
    return seen[-1]


def _within(choose: Choose, record: Record) -> Choose:
    """Chooses from the part of the video that is meant, whose times count from its own first frame."""

    def chosen(times: np.ndarray) -> np.ndarray:
        inside = np.flatnonzero((times >= record.begin) & (times < record.end))
        if not len(inside):
            raise BadRecord(f"has no frame from {record.begin:g} to {record.end:g} seconds", verdict="too short")
        return inside[np.asarray(choose(times[inside] - times[inside[0]]))]

    return chosen


def decode_clip(media: bytes, choose: Choose) -> np.ndarray:
    """Chosen frames of a video, exact also where the frame rate varies, upright as its rotation says.

    All packets are read, which gives every frame's time; only from the key frame before the first chosen frame to the last
    chosen one are they decoded.

    Args:
      choose: from the presentation times of all frames, in seconds after the first, [n] ascending, to the indices of frames.

    Returns:
      uint8 [t,h,w,3].

    Raises:
      BadRecord
    """
    with reading(media) as container:
        return _decode_clip(container, choose)


def _decode_clip(container: Any, choose: Choose) -> np.ndarray:
    packets, times, stamps = timeline(container)
    chosen = [int(index) for index in choose(times)]
    # AVI stores no presentation times: its frames are counted from the beginning.
    counted = stamps if container.format.name == "avi" else None
    wanted = {stamps[index] for index in chosen}
    found = _decode_wanted(packets if counted else _from_key(packets, min(wanted)), wanted, counted)
    if len(found) < len(wanted) and not counted:  # what passes for a key frame may only begin a gradual refresh
        packets[0].stream.codec_context.flush_buffers()
        found = _decode_wanted(packets, wanted, counted)
    missing = [index for index in chosen if stamps[index] not in found]
    if missing:
        raise BadRecord(f"frame {missing[0]} of {len(stamps)} cannot be decoded")
    if len({frame.shape for frame in found.values()}) > 1:
        raise BadRecord("changes its frame size")
    return np.stack([found[stamps[index]] for index in chosen])


def _from_key(packets: list[Any], stamp: int) -> list[Any]:
    """The packets from the last key frame that is shown no later than `stamp`."""
    keys = [position for position, packet in enumerate(packets) if packet.is_keyframe and packet.pts <= stamp]
    return packets[keys[-1] if keys else 0 :]


def _decode_wanted(packets: list[Any], wanted: set[int], counted: list[int] | None) -> dict[int, np.ndarray]:
    """Frames uint8 [h,w,3] by their time stamp."""
    found: dict[int, np.ndarray] = {}
    reformatter = VideoReformatter()
    for stamp, frame in _stamped(packets, counted):
        if stamp in wanted and stamp not in found and not frame.is_corrupt:
            found[stamp] = rgb_array(frame, reformatter)
        if len(found) == len(wanted):
            break
    return found


def frames_in_order(packets: list[Any], counted: list[int] | None) -> Iterator[tuple[int, np.ndarray]]:
    """(time stamp, uint8 [h,w,3]) of the frames of a video's packets.

    Args:
      counted: the stamps of all frames where the container stores none, as AVI, whose frames are counted; None otherwise.
    """
    reformatter = VideoReformatter()
    yield from ((stamp, rgb_array(frame, reformatter)) for stamp, frame in _stamped(packets, counted) if not frame.is_corrupt)


def _stamped(packets: list[Any], counted: list[int] | None) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decoders put frames out in the order in which they are shown."""
    decoder = packets[0].stream.codec_context
    frames = (frame for packet in [*packets, None] for frame in decoder.decode(packet))
    for count, frame in enumerate(frames):
        yield counted[min(count, len(counted) - 1)] if counted else frame.pts, frame


def read_image(path: Path) -> np.ndarray:
    """An image file as a video of one frame, uint8 [1,h,w,3]. Raises DataError, OSError."""
    try:
        return decode_image(Path(path).read_bytes())
    except BadRecord as error:
        raise DataError(f"{path}: {error}") from error


def read_video(path: Path) -> tuple[Iterator[np.ndarray], float]:
    """All frames of a video file, one at a time.

    Returns:
      (frames uint8 [h,w,3] in the order shown, frames per second on average).

    Raises:
      DataError: not a video, or damaged, which may show while frames are read. OSError.
    """
    frames = _read_frames(Path(path))
    return frames, next(frames)


def _read_frames(path: Path) -> Iterator[Any]:
    """First the frame rate, then the frames."""
    with opened(path) as (container, stream):
        yield float(stream.average_rate or stream.guessed_rate or 1)
        reformatter = VideoReformatter()
        yield from (rgb_array(frame, reformatter) for frame in container.decode(stream))


def count_frames(path: Path) -> int:
    """How many frames a video file says it holds. Where its header does not say, its packets are counted, without decoding.

    It may show another number: players leave out what lies before the start that a file asks for.

    Raises:
      DataError: not a video, or damaged. OSError.
    """
    with opened(Path(path)) as (container, stream):
        return stream.frames or sum(packet.size > 0 and not packet.is_discard for packet in container.demux(stream))


def write_image(path: Path, frame: np.ndarray) -> None:
    """Writes uint8 [h,w,3] as .png, .jpg or .webp by the name's end. The file appears whole or not at all."""
    path = Path(path)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise DataError(f"cannot write {path}: give a name that ends in {', '.join(IMAGE_SUFFIXES)}")
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    with _replacing(partial, path):
        Image.fromarray(frame).save(partial, quality=95)


def write_video(path: Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """Writes H.264 at exactly the frames' size; the file appears whole or not at all.

    Even sizes are stored as yuv420p, which every player knows, odd sizes as yuv444p, since 4:2:0 has no odd ones.

    Args:
      path: ends in .mp4, .mov or .mkv.
      frames: uint8 [h,w,3] each, all of one size.
      fps: frames per second.

    Raises:
      DataError: no frames, or a name with another end.
    """
    path = Path(path)
    if path.suffix.lower() not in _WRITTEN:
        raise DataError(f"cannot write {path}: give a name that ends in {', '.join(_WRITTEN)}")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise DataError(f"cannot write {path}: there are no frames")
    partial = path.with_name(f".{path.name}.partial")
    with _replacing(partial, path), av.open(partial, "w", format=_WRITTEN[path.suffix.lower()]) as container:
        stream, reformatter = add_h264(container, first.shape, fps), VideoReformatter()
        for frame in itertools.chain([first], frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture = reformatter.reformat(picture, format=stream.pix_fmt, dst_colorspace=Colorspace.ITU709, threads=1)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def add_h264(container: Any, shape: tuple[int, ...], fps: float) -> Any:
    """A stream for frames of a shape [h,w,3] in a container that is being written."""
    # One thread and no shortcuts of one processor's: the same frames give the same bytes.
    options = {"crf": "18", "x264-params": "cpu-independent=1"}
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=options)
    stream.codec_context.thread_count = 1
    stream.height, stream.width = shape[:2]
    stream.pix_fmt = "yuv420p" if stream.height % 2 == stream.width % 2 == 0 else "yuv444p"
    stream.codec_context.colorspace, stream.codec_context.color_range = Colorspace.ITU709, ColorRange.MPEG
    return stream


@contextlib.contextmanager
def _replacing(partial: Path, path: Path) -> Iterator[None]:
    """Gives `partial`, written in the block, its name at the end; after an error it is removed."""
    try:
        yield
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
