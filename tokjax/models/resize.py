"""Bilinear resizing of frames, without smoothing, by the two conventions of where a pixel lies."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def resize_bilinear(video: jax.Array, height: int, width: int, corners: bool) -> jax.Array:
    """Frames [b,t,h,w,c] -> [b,t,height,width,c], each value a weighted mean of at most four.

    Args:
      corners: the centres of the corner pixels stay where they are (as OmniTokenizer resizes in training); otherwise the edges of
        the frame do.
    """
    rows, columns = _weights(video.shape[2], height, corners), _weights(video.shape[3], width, corners)
    return jnp.einsum("Hh,bthwc,Ww->btHWc", rows, video, columns, precision="highest")


def _weights(before: int, after: int, corners: bool) -> np.ndarray:
    """Weight of each value of before for each of after, float32 [after, before]."""
    place = np.arange(after, dtype=np.float64)
    place = place * (before - 1) / max(1, after - 1) if corners else (place + 0.5) * before / after - 0.5
    place = np.clip(place, 0, before - 1)
    lower = np.minimum(place.astype(int), max(0, before - 2))
    share = place - lower
    weights = np.zeros((after, before))
    weights[np.arange(after), lower] += 1 - share
    weights[np.arange(after), np.minimum(lower + 1, before - 1)] += share
    return weights.astype(np.float32)
