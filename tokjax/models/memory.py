"""What layers remember from one chunk of a video to the next, so that chunks give what the whole video gives.

It lives in the flax collection "cache", and two facts about that collection say which chunk a layer sees:

  one-shot      no cache is given, and "cache" is not mutable
  first chunk   no cache is given, and "cache" is mutable
  middle        a cache is given, and "cache" is mutable
  last          a cache is given, and "cache" is not mutable
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

CACHE = "cache"


def more_follows(module: nn.Module) -> bool:
    """Whether this is a chunk that others come after."""
    return module.is_mutable_collection(CACHE) and not module.is_initializing()


def with_past(module: nn.Module, x: jax.Array, frames: int, replicate: bool, forget: int = 0) -> tuple[jax.Array, int]:
    """x [b,t,h,w,c] with the frames that come before it, and how many zero frames are still missing in front of that.

    The zeros before a video are counted rather than made, since a convolution pads for less.

    Args:
      frames: how many frames before x a layer looks at, at least 1.
      replicate: the frames before a video are copies of its first one; otherwise they are zeros.
      forget: frames at the end of x that come again with the next chunk.
    """
    missing = 0
    if module.has_variable(CACHE, "past"):
        x = jnp.concatenate([module.get_variable(CACHE, "past"), x], axis=1)
    elif replicate:
        x = jnp.concatenate([jnp.repeat(x[:, :1], frames, axis=1), x], axis=1)
    else:
        missing = frames
    if more_follows(module):
        known = jnp.pad(x, ((0, 0), (missing, 0), (0, 0), (0, 0), (0, 0)))
        stop = known.shape[1] - forget
        module.put_variable(CACHE, "past", known[:, stop - frames : stop])
    return x, missing
