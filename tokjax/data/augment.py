"""Random areas and colours, off unless a stream asks for them. One draw serves the whole clip."""

from __future__ import annotations

import math

import numpy as np

_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's mode L
_RATIOS = (3 / 4, 4 / 3)  # of width to height


def random_area(height: int, width: int, share: tuple[float, float], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A rectangle of a share of the area drawn evenly and a ratio of sides drawn evenly in its logarithm, somewhere inside.

    That is the random resized crop of Szegedy et al., arXiv 1409.4842, section 6, as everybody does it: ten draws, then the
    largest centred rectangle of an allowed ratio.

    Returns:
      (top, left, height, width).
    """
    for _ in range(10):
        area = height * width * rng.uniform(*share)
        ratio = math.exp(rng.uniform(*map(math.log, _RATIOS)))
        high, wide = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < high <= height and 0 < wide <= width:
            return int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1)), high, wide
    ratio = min(max(width / height, _RATIOS[0]), _RATIOS[1])
    high, wide = max(1, min(height, round(width / ratio))), max(1, min(width, round(height * ratio)))
    return (height - high) // 2, (width - wide) // 2, high, wide


def jitter(clip: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and saturation of uint8 [t,h,w,3], each times a factor from 1 - strength to 1 + strength."""
    return coloured(clip, *rng.uniform(1 - strength, 1 + strength, 3))


def coloured(clip: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    """uint8 [t,h,w,3] with other colours; 1 leaves each as it is, contrast is around the clip's mean grey."""
    pixels = np.clip(clip.astype(np.float32) * np.float32(brightness), 0, 255)
    mean = np.float32((pixels @ _GREY).mean())
    pixels = np.clip(mean + np.float32(contrast) * (pixels - mean), 0, 255)
    grey = (pixels @ _GREY)[..., None]
    return np.clip(grey + np.float32(saturation) * (pixels - grey) + 0.5, 0, 255).astype(np.uint8)
