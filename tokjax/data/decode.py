"""Encoded bytes become uint8 frames. What cannot be decoded raises BadRecord; no frame is ever made up."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from PIL import Image, ImageOps

from tokjax.data.sources import IMAGE_SUFFIXES, BadRecord, DataError, Record

# Nothing is taken for a playlist or subtitle; a title in an odd encoding does not matter (PyAV 19 knows no other way).
_OPEN: dict[str, Any] = {"options": {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"}}
if int(av.__version__.split(".")[0]) < 19:
    _OPEN["metadata_errors"] = "ignore"
_IMAGES = ("JPEG", "PNG", "WEBP")
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
        return decode_clip(record.media, choose)
    frames = decode_image(record.media)
    return frames[np.asarray(choose(np.zeros(1)))]


def decode_image(media: bytes) -> np.ndarray:
    """An image of any mode, turned upright by its EXIF orientation.

    Returns:
      uint8 [1,h,w,3].

    Raises:
      BadRecord
    """
    try:
        with Image.open(io.BytesIO(media), formats=_IMAGES) as image:
            upright = ImageOps.exif_transpose(image)
            return np.asarray(_to_rgb(upright))[None]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow's decoders raise
        raise BadRecord(f"not a readable image: {error}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    """Wide greys are brought to 8 bits, which Pillow would clip instead."""
    if image.mode.startswith("I;16") or image.mode == "I":
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


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
    try:
        with av.open(io.BytesIO(media), **_OPEN) as container:
            return _decode_clip(container, choose)
    except av.error.FFmpegError as error:
        raise BadRecord(f"not a readable video: {error.strerror}") from error


def _decode_clip(container: Any, choose: Choose) -> np.ndarray:
    stream = _video_stream(container)
    packets = [packet for packet in container.demux(stream) if packet.size]
    _check(packets)
    stamps = sorted(packet.pts for packet in packets if not packet.is_discard)
    times = (np.asarray(stamps) - stamps[0]) * float(stream.time_base)
    chosen = [int(index) for index in choose(times)]
    # AVI stores no presentation times: its frames are counted from the beginning.
    counted = stamps if container.format.name == "avi" else None
    wanted = {stamps[index] for index in chosen}
    found = _decode_wanted(packets if counted else _from_key(packets, min(wanted)), wanted, counted)
    if len(found) < len(wanted) and not counted:  # what passes for a key frame may only begin a gradual refresh
        stream.codec_context.flush_buffers()
        found = _decode_wanted(packets, wanted, counted)
    missing = [index for index in chosen if stamps[index] not in found]
    if missing:
        raise BadRecord(f"frame {missing[0]} of {len(stamps)} cannot be decoded")
    if len({frame.shape for frame in found.values()}) > 1:
        raise BadRecord("changes its frame size")
    return np.stack([found[stamps[index]] for index in chosen])


def _video_stream(container: Any) -> Any:
    """The first video stream, to be decoded in this thread."""
    streams = container.streams.video
    if not streams or streams[0].codec_context is None:
        raise BadRecord("has no video stream" if not streams else "has a video stream in an unknown codec")
    streams[0].codec_context.thread_count = 1
    return streams[0]


def _check(packets: list[Any]) -> None:
    if not any(not packet.is_discard for packet in packets):
        raise BadRecord("has no frames")
    if any(packet.pts is None for packet in packets):
        raise BadRecord("has frames without a presentation time")
    if any(packet.is_corrupt for packet in packets):
        raise BadRecord("is damaged or ends early")


def _from_key(packets: list[Any], stamp: int) -> list[Any]:
    """The packets from the last key frame that is shown no later than `stamp`."""
    keys = [position for position, packet in enumerate(packets) if packet.is_keyframe and packet.pts <= stamp]
    return packets[keys[-1] if keys else 0 :]


def _decode_wanted(packets: list[Any], wanted: set[int], counted: list[int] | None) -> dict[int, np.ndarray]:
    """Frames uint8 [h,w,3] by their time stamp; decoders put frames out in the order in which they are shown."""
    found: dict[int, np.ndarray] = {}
    decoder, reformatter = packets[0].stream.codec_context, VideoReformatter()
    frames = (frame for packet in [*packets, None] for frame in decoder.decode(packet))
    for count, frame in enumerate(frames):
        stamp = counted[min(count, len(counted) - 1)] if counted else frame.pts
        if stamp in wanted and stamp not in found and not frame.is_corrupt:
            found[stamp] = _rgb_array(frame, reformatter)
        if len(found) == len(wanted):
            break
    return found


def _rgb_array(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    """uint8 [h,w,3], turned as the file says a player must (degrees, counter-clockwise).

    A reformatter keeps its tables from frame to frame; without one, and with threads of its own, this takes 10 times as long.
    """
    pixels = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
    return np.rot90(pixels, round(frame.rotation / 90) % 4)


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
    with _opened(path) as (container, stream):
        yield float(stream.average_rate or stream.guessed_rate or 1)
        reformatter = VideoReformatter()
        yield from (_rgb_array(frame, reformatter) for frame in container.decode(stream))


def count_frames(path: Path) -> int:
    """How many frames a video file says it holds. Where its header does not say, its packets are counted, without decoding.

    It may show another number: players leave out what lies before the start that a file asks for.

    Raises:
      DataError: not a video, or damaged. OSError.
    """
    with _opened(Path(path)) as (container, stream):
        return stream.frames or sum(packet.size > 0 and not packet.is_discard for packet in container.demux(stream))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container in a file and its first video stream; what is wrong with them becomes DataError."""
    try:
        with open(path, "rb") as file, av.open(file, **_OPEN) as container:
            yield container, _video_stream(container)
    except (BadRecord, av.error.FFmpegError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


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
        stream, reformatter = _add_h264(container, first.shape, fps), VideoReformatter()
        for frame in itertools.chain([first], frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture = reformatter.reformat(picture, format=stream.pix_fmt, dst_colorspace=Colorspace.ITU709, threads=1)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _add_h264(container: Any, shape: tuple[int, ...], fps: float) -> Any:
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
