"""Frames too large to compute at once: tiles that overlap by a quarter, blended linearly.

The usual scheme of tiled autoencoders: encoding blends what the encoder says of neighbouring tiles, before quantization, and
decoding blends pixels. All tiles have one shape, so one program serves them, and the tokens have the shape that they have
without tiles.

A model sees a whole frame at once where it attends or normalises over it, and a tile lacks what lies around it, so the result is
near that without tiles, not equal to it. Measured with a small VidTok (8x8 pixels for a latent, trained for 1,000 steps on clips
of 32x32): reconstructions of two held-out photographs in tiles against those in one piece, PSNR and the largest difference:

  tile            64                128               256
  400x600         26.9 dB, 52/255   31.2 dB, 39/255   37.0 dB, 21/255
  300x451         30.8 dB, 31/255   37.1 dB, 12/255   43.9 dB, 6/255

The tiles came nearer to the photographs than the frame in one piece, by 0.3 to 1.7 dB: training had seen small pictures only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np

Tile = tuple[int, int]
Run = Callable[[int, jax.Array], Any]

FEWEST = 4  # latents along a side of a tile: with fewer, a quarter is no whole latent


def tile_in_latents(module: nn.Module, tile: Tile | None) -> Tile | None:
    """The sides of a tile (height, width) of pixels in latents; None where there is none.

    Raises:
      ValueError: a tile that the model would not give back whole, or too small to overlap.
    """
    if tile is None:
        return None
    height, width = tile
    least = module.space_factor * FEWEST
    nearest = module.pad_sides(max(height, least), max(width, least))
    if (height, width) != tuple(nearest):
        raise ValueError(
            f"tiles of {height}x{width} pixels do not suit this model: they are whole latents (and windows) and at least {least} "
            f"on a side; the next that suit are {nearest[0]}x{nearest[1]}"
        )
    return height // module.space_factor, width // module.space_factor


def in_tiles(run: Run, x: jax.Array, tile: Tile | None, unit: int) -> Any:
    """`run(0, x)`, or where there is a tile, the blend of `run(number, part)` over all tiles, on the host.

    Args:
      run: from the number of a tile and x there, [b,t,h,w,c], to [b,t2,h2,w2,c2] of sides in proportion.
      x: [b,t,h,w,c].
      tile: (height, width) in latents.
      unit: what a latent is along a side of x: pixels where x is video, 1 where it is latents.
    """
    if tile is None:
        return run(0, x)
    sides = [side // unit for side in x.shape[2:4]]
    sizes = [min(most, side) for most, side in zip(tile, sides, strict=True)]
    places = itertools.product(*(starts(side, size) for side, size in zip(sides, sizes, strict=True)))
    total = None
    for number, (top, left) in enumerate(places):
        rows, columns = (slice(at * unit, (at + size) * unit) for at, size in zip((top, left), sizes, strict=True))
        part = np.asarray(run(number, x[:, :, rows, columns]))
        if total is None:
            scale = part.shape[2] // sizes[0]
            weights = [blend_weights(side * scale, size * scale, scale) for side, size in zip(sides, sizes, strict=True)]
            total = np.zeros((*part.shape[:2], sides[0] * scale, sides[1] * scale, part.shape[4]), np.float32)
        row, column = (weight[at] for weight, at in zip(weights, (top, left), strict=True))
        there = total[:, :, top * scale :, left * scale :][:, :, : part.shape[2], : part.shape[3]]
        there += part * row[:, None, None] * column[:, None]
    return total


def starts(side: int, size: int) -> list[int]:
    """Where tiles begin: as few as overlap by a quarter or more, evenly spread from end to end."""
    if size >= side:
        return [0]
    last = -(-(side - size) // (3 * size // 4))
    return [round(number * (side - size) / last) for number in range(last + 1)]


def blend_weights(side: int, size: int, scale: int) -> dict[int, np.ndarray]:
    """Each tile's share in its pixels, float32 [size], by where it begins in latents; at every pixel the shares sum to 1.

    A tile rises from 0 to 1 over what it has in common with the one before, which falls by as much.
    """
    begins = starts(side // scale, size // scale)
    centres = np.arange(side) + 0.5
    risen = [np.ones(side)]
    for before, begin in itertools.pairwise(begins):
        common = before * scale + size - begin * scale
        risen.append(((centres - begin * scale) / common).clip(0, 1))
    shares, later = {}, np.ones(side)
    for begin, rise in zip(reversed(begins), reversed(risen), strict=True):
        shares[begin] = (rise * later)[begin * scale : begin * scale + size].astype(np.float32)
        later = later * (1 - rise)
    return shares
