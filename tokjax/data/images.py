"""Encoded images become uint8 pixels: any mode, upright, or a BadRecord."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image, UnidentifiedImageError

from tokjax.data.records import BadRecord

MAX_PIXELS = 1 << 26  # of a frame, 8192x8192
MAX_RATIO = 64  # of its sides: a strip of 1x60000 would be resized to gigabytes
_FORMATS = ("JPEG", "PNG", "WEBP")  # by content, whatever the name says
_PILLOW_RAISES = (OSError, ValueError, SyntaxError, EOFError, struct.error)
_ORIENTATION = 0x0112  # the tag of EXIF
_UPRIGHT = {  # what turns an image upright, by the tag's value; 1 is upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(media: bytes) -> np.ndarray:
    """An image of any mode, turned upright by its EXIF orientation.

    Returns:
      uint8 [1,h,w,3].

    Raises:
      BadRecord
    """
    try:
        with Image.open(io.BytesIO(media), formats=_FORMATS) as image:
            check_size(*image.size)
            pixels = _to_rgb(image)
            turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION))  # other tags may be damaged, so no more is read of them
            return np.asarray(pixels if turn is None else pixels.transpose(turn))[None]
    except UnidentifiedImageError as error:
        raise BadRecord(f"not a readable image: neither {', '.join(_FORMATS[:-1])} nor {_FORMATS[-1]}") from error
    except Image.DecompressionBombError as error:  # larger still than ours
        raise BadRecord(f"is too large: {error}", verdict="too large") from error
    except _PILLOW_RAISES as error:
        raise BadRecord(f"not a readable image: {error}") from error


def check_size(width: int, height: int) -> None:
    """Refuses frames that would take more memory than a worker should, before anything is decoded. Raises BadRecord."""
    if width * height > MAX_PIXELS or max(width, height) > MAX_RATIO * min(width, height):
        reason = f"is {width}x{height}, more than {MAX_PIXELS:,} pixels or one side more than {MAX_RATIO} times the other"
        raise BadRecord(reason, verdict="too large")


def _to_rgb(image: Image.Image) -> Image.Image:
    """Wide greys are brought to 8 bits, which Pillow would clip instead."""
    if image.mode.startswith("I;16") or image.mode == "I":
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")
