"""Opening encoded videos: their packets with the times of frames, and decoded frames as pixels. Damage is named."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from tokjax.data.images import check_size
from tokjax.data.records import BadRecord, DataError

# Nothing is taken for a playlist or subtitle; a title in an odd encoding does not matter (PyAV 19 knows no other way).
_OPEN: dict[str, Any] = {"options": {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"}}
if int(av.__version__.split(".")[0]) < 19:
    _OPEN["metadata_errors"] = "ignore"
MOST_SECONDS = 7 * 86_400  # of a video; a damaged time of one frame would make endless clips at a frame rate


@contextlib.contextmanager
def reading(media: bytes) -> Iterator[Any]:
    """The container in some bytes; what is wrong with it becomes BadRecord."""
    try:
        with av.open(io.BytesIO(media), **_OPEN) as container:
            yield container
    except av.error.FFmpegError as error:
        raise BadRecord(f"not a readable video: {error.strerror}") from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container in a file and its first video stream; what is wrong with them becomes DataError."""
    try:
        with open(path, "rb") as file, av.open(file, **_OPEN) as container:
            yield container, video_stream(container)
    except (BadRecord, av.error.FFmpegError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def timeline(container: Any) -> tuple[list[Any], np.ndarray, list[int]]:
    """All packets of the video stream, the times of its frames in seconds after the first, and in the stream's own unit.

    Raises:
      BadRecord
    """
    stream = video_stream(container)
    demuxed = list(container.demux(stream))
    packets = [packet for packet in demuxed if packet.size]
    _check(packets)
    if container.format.name == "avi" and len(demuxed) - 1 < stream.frames:  # the last one stands for the end
        raise BadRecord("ends early")
    stamps = sorted(packet.pts for packet in packets if not packet.is_discard)
    times = (np.asarray(stamps) - stamps[0]) * float(stream.time_base)
    if times[-1] > MOST_SECONDS:
        raise BadRecord(f"has frames that are {times[-1]:.0f} seconds apart, so its times are damaged")
    return packets, times, stamps


def video_stream(container: Any) -> Any:
    """The first video stream, to be decoded in this thread."""
    streams = container.streams.video
    if not streams or streams[0].codec_context is None:
        reason = "has a video stream in an unknown codec" if streams else "has no video stream"
        raise BadRecord(reason, verdict="unreadable" if streams else "no video stream")
    check_size(max(1, streams[0].codec_context.width), max(1, streams[0].codec_context.height))
    streams[0].codec_context.thread_count = 1
    return streams[0]


def _check(packets: list[Any]) -> None:
    if not any(not packet.is_discard for packet in packets):
        raise BadRecord("has no frames", verdict="too short")
    if any(packet.pts is None for packet in packets):
        raise BadRecord("has frames without a presentation time")
    if any(packet.is_corrupt for packet in packets):
        raise BadRecord("is damaged or ends early")


def rgb_array(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    """uint8 [h,w,3], turned as the file says a player must (degrees, counter-clockwise).

    A reformatter keeps its tables from frame to frame; without one, and with threads of its own, this takes 10 times as long.

    Raises:
      BadRecord: it is larger than `check_size` allows, whatever the file said before.
    """
    check_size(frame.width, frame.height)
    pixels = reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
    return np.rot90(pixels, round(frame.rotation / 90) % 4)
