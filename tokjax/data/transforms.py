"""Resize, crop, flip: functions of a clip, and of a generator where there is chance. One draw serves the whole clip."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from tokjax.data.augment import jitter, random_area

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def transform(clip: np.ndarray, stream: dict[str, Any], rng: np.random.Generator | None) -> np.ndarray:
    """What a stream does to its clips.

    Args:
      clip: uint8 [t,h,w,3].
      stream: a plain dict with the keys of `tokjax.config.stream`.
      rng: None for evaluation, which never flips or changes colours, and crops the centre or squashes.

    Returns:
      uint8 [t,resolution,resolution,3].
    """
    side, how, crop = stream["resolution"], stream["resize"], stream["crop"]
    if crop == "squash":
        clip = resize(clip, side, side, how)
    elif crop == "random_area" and rng is not None:
        top, left, height, width = random_area(*clip.shape[1:3], stream["crop_area"], rng)
        clip = resize(clip[:, top : top + height, left : left + width], side, side, how)
    else:
        clip = resize_short_side(clip, stream["short_side"] or side, how)
        clip = random_crop(clip, side, rng) if crop == "random" and rng is not None else centre_crop(clip, side, side)
    if rng is not None and stream["flip"] and rng.random() < 0.5:
        clip = clip[:, :, ::-1]
    if rng is not None and stream["colour_jitter"]:
        clip = jitter(clip, stream["colour_jitter"], rng)
    return np.ascontiguousarray(clip)


def resize_short_side(clip: np.ndarray, side: int, how: str = "bilinear") -> np.ndarray:
    """Brings the shorter side of uint8 [t,h,w,3] to `side`, the longer to int(side * longer / shorter)."""
    height, width = clip.shape[1:3]
    if min(height, width) == side:
        return clip
    return resize(clip, *with_short_side(height, width, side), how)


def with_short_side(height: int, width: int, side: int) -> tuple[int, int]:
    """The size whose shorter side is `side`, and the longer int(side * longer / shorter)."""
    return (int(side * height / width), side) if width <= height else (side, int(side * width / height))


def resize(clip: np.ndarray, height: int, width: int, how: str = "bilinear") -> np.ndarray:
    """uint8 [t,h,w,3] in another size, antialiased, as torchvision and Pillow do it; `how` is "bilinear" or "bicubic"."""
    if clip.shape[1:3] == (height, width):
        return clip
    return np.stack([Image.fromarray(frame).resize((width, height), _FILTERS[how]) for frame in clip])


def centre_crop(clip: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of [t,h,w,c], its offset rounded half to even; what is smaller gets zeros on both sides first."""
    missing = [max(0, wanted - given) for wanted, given in zip((height, width), clip.shape[1:3], strict=True)]
    if any(missing):
        clip = np.pad(clip, ((0, 0), *((less // 2, (less + 1) // 2) for less in missing), (0, 0)))
    top, left = (round((given - wanted) / 2) for wanted, given in zip((height, width), clip.shape[1:3], strict=True))
    return clip[:, top : top + height, left : left + width]


def random_crop(clip: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """A square of [t,h,w,c], every position equally likely."""
    top, left = (int(rng.integers(given - side + 1)) for given in clip.shape[1:3])
    return clip[:, top : top + side, left : left + side]
