"""Resize, crop, flip: functions of a clip, and of a generator where there is chance. One draw serves the whole clip."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image


def transform(clip: np.ndarray, stream: dict[str, Any], rng: np.random.Generator | None) -> np.ndarray:
    """What a stream does to its clips.

    Args:
      clip: uint8 [t,h,w,3].
      stream: a plain dict with the keys of `tokjax.config.stream`.
      rng: None for evaluation, which crops the centre and never flips.

    Returns:
      uint8 [t,resolution,resolution,3].
    """
    side = stream["resolution"]
    clip = resize_short_side(clip, stream["short_side"] or side)
    centred = rng is None or stream["crop"] == "centre"
    clip = centre_crop(clip, side, side) if centred else random_crop(clip, side, rng)
    if rng is not None and stream["flip"] and rng.random() < 0.5:
        clip = clip[:, :, ::-1]
    return np.ascontiguousarray(clip)


def resize_short_side(clip: np.ndarray, side: int) -> np.ndarray:
    """Brings the shorter side of uint8 [t,h,w,3] to `side`, the longer to int(side * longer / shorter); antialiased bilinear."""
    height, width = clip.shape[1:3]
    if min(height, width) == side:
        return clip
    size = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
    return np.stack([Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR) for frame in clip])


def centre_crop(clip: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of [t,h,w,c], its offset rounded half to even; what is smaller gets zeros on both sides first."""
    missing = [max(0, wanted - given) for wanted, given in zip((height, width), clip.shape[1:3], strict=True)]
    clip = np.pad(clip, ((0, 0), *((less // 2, (less + 1) // 2) for less in missing), (0, 0)))
    top, left = (round((given - wanted) / 2) for wanted, given in zip((height, width), clip.shape[1:3], strict=True))
    return clip[:, top : top + height, left : left + width]


def random_crop(clip: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """A square of [t,h,w,c], every position equally likely."""
    top, left = (int(rng.integers(given - side + 1)) for given in clip.shape[1:3])
    return clip[:, top : top + side, left : left + side]
