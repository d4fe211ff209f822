"""Small test media: videos whose frames carry their number as a bar code, and images of one colour."""

import io
from collections.abc import Sequence

import av
import numpy as np
from PIL import Image

_BITS, _WIDTH = 9, 16


def barcode_video(
    frames: int, *, container: str = "mp4", codec: str = "libx264", stamps: Sequence[int] | None = None, **options: str
) -> bytes:
    """160 x 64 at 30 frames per second over moving noise; frame i shows i in binary. `stamps`: times of the frames in 1/30 s."""
    buffer, noise = io.BytesIO(), np.random.default_rng(0).integers(20, 150, (64, 320, 3), np.uint8)
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 160, 64, "yuv420p"
        for i in range(frames):
            pixels = noise[:, i % 160 :][:, :160].copy()
            for bit in range(_BITS):
                pixels[:8, bit * _WIDTH : (bit + 1) * _WIDTH] = 255 * (i >> bit & 1)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = None if stamps is None else int(stamps[i])
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return buffer.getvalue()


def numbers(clip: np.ndarray) -> list[int]:
    """The numbers that the frames of [t,64,160,3] show."""
    return [sum(int(frame[4, bit * _WIDTH + 8].mean() > 128) << bit for bit in range(_BITS)) for frame in clip]


def encoded_image(colour: tuple[int, int, int], size: tuple[int, int] = (24, 20), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


def a_stream(kind: str, path: object, **changes: object) -> dict:
    """A stream's plain dict, with every key."""
    stream = {"kind": kind, "path": str(path), "table": "", "split": "train", "weight": 1.0, "batch": 4, "frames": 1}
    stream |= {"frame_rate": 0.0, "stride": 1, "frame_rule": "exact", "short_clips": "repeat", "whole": False, "resolution": 16}
    stream |= {"short_side": 0, "resize": "bilinear", "crop": "random", "crop_area": (0.5, 1.0), "flip": True}
    return stream | {"colour_jitter": 0.0} | changes
