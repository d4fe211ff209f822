"""DiffAugment: the same kind of damage to real and reconstructed videos keeps a discriminator from learning the data by heart.

Zhao et al., arXiv 2006.10738, with OmniTokenizer's strengths. Each frame is a sample of its own. Values are -1..1, and what lies
outside a frame is 0, which is grey.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

POLICIES = ("color", "translation", "cutout")


class Draws(NamedTuple):
    """The random numbers for n frames of height h and width w, [n] each.

    Attributes:
      brightness, saturation, contrast: float in 0..1.
      shift_y, shift_x: int, how far up and left a frame moves: -a..a with a an eighth of the side, rounded.
      centre_y, centre_x: int, of the box that is cut out, which has a fifth of the sides, rounded: a row, a column.
    """

    brightness: jax.Array
    saturation: jax.Array
    contrast: jax.Array
    shift_y: jax.Array
    shift_x: jax.Array
    centre_y: jax.Array
    centre_x: jax.Array


def draw(key: jax.Array, n: int, height: int, width: int) -> Draws:
    """The random numbers for n frames."""
    keys, sides = jax.random.split(key, 7), (height, width)
    colours = [jax.random.uniform(one, (n,)) for one in keys[:3]]
    shifts = [_whole(one, n, -_eighth(side), _eighth(side)) for one, side in zip(keys[3:5], sides, strict=True)]
    centres = [_whole(one, n, 0, side - _fifth(side) % 2) for one, side in zip(keys[5:], sides, strict=True)]
    return Draws(*colours, *shifts, *centres)


def _whole(key: jax.Array, n: int, least: int, most: int) -> jax.Array:
    return jax.random.randint(key, (n,), least, most + 1)


def augment(video: jax.Array, key: jax.Array, policy: str = "color,translation,cutout") -> jax.Array:
    """Videos [b,t,h,w,3] in -1..1 with the augmentations of `policy`, a list of POLICIES with commas between.

    Raises:
      ValueError: a policy that does not exist.
    """
    unknown = [name for name in policy.split(",") if name not in POLICIES]
    if unknown:
        raise ValueError(f"there is no augmentation {unknown[0]!r}; those there are: {', '.join(POLICIES)}")
    frames = video.reshape(-1, *video.shape[2:])
    return apply(frames, draw(key, *frames.shape[:3]), policy).reshape(video.shape)


def apply(frames: jax.Array, draws: Draws, policy: str = "color,translation,cutout") -> jax.Array:
    """Frames [n,h,w,3] with the augmentations of `policy`, one after the other in the order of POLICIES."""
    chosen = policy.split(",")
    if "color" in chosen:
        frames = _coloured(frames, *(u[:, None, None, None] for u in draws[:3]))
    if "translation" in chosen:
        frames = _moved(frames, draws.shift_y, draws.shift_x)
    if "cutout" in chosen:
        frames = _cut(frames, draws.centre_y, draws.centre_x)
    return frames


def _coloured(frames: jax.Array, brightness: jax.Array, saturation: jax.Array, contrast: jax.Array) -> jax.Array:
    """Brighter by -1..1, then 0..2 times as far from grey, then 0.5..1.5 times as far from the frame's mean."""
    frames = frames + (2 * brightness - 1)
    grey = frames.mean(-1, keepdims=True)
    frames = (frames - grey) * (2 * saturation) + grey
    mean = frames.mean((1, 2, 3), keepdims=True)
    return (frames - mean) * (contrast + 0.5) + mean


def _moved(frames: jax.Array, up: jax.Array, left: jax.Array) -> jax.Array:
    def move(frame: jax.Array, up: jax.Array, left: jax.Array) -> jax.Array:
        (height, width), (y, x) = frame.shape[:2], (_eighth(side) for side in frame.shape[:2])
        padded = jnp.pad(frame, ((y, y), (x, x), (0, 0)))
        return jax.lax.dynamic_slice(padded, (y + up, x + left, 0), (height, width, frame.shape[2]))

    return jax.vmap(move)(frames, up, left)


def _cut(frames: jax.Array, centre_y: jax.Array, centre_x: jax.Array) -> jax.Array:
    rows, columns = (_covered(centre, side) for centre, side in zip((centre_y, centre_x), frames.shape[1:3], strict=True))
    return jnp.where((rows[:, :, None] & columns[:, None, :])[..., None], 0.0, frames)


def _covered(centre: jax.Array, side: int) -> jax.Array:
    """bool [n, side]: which rows or columns the box covers. Where it would reach outside it is cut off."""
    first, size = centre[:, None] - _fifth(side) // 2, _fifth(side)
    place = jnp.arange(side)
    return (place >= first) & (place < first + size)


def _eighth(side: int) -> int:
    return int(0.125 * side + 0.5)


def _fifth(side: int) -> int:
    return int(0.2 * side + 0.5)
