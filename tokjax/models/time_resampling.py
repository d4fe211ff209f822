"""Halving and doubling the frames of a video, in every family's way, whole or chunk by chunk.

Arrays are [batch, time, height, width, channel].
"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from tokjax.models.layers import Conv, Style
from tokjax.models.memory import CACHE, more_follows, with_past


class TemporalDownsample(nn.Module):
    """Half the frames (floor): a blend of the mean of 3 frames and a strided 3x3x3 convolution.

    The third frame lies before each pair, or behind it in the non-causal family.
    """

    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        missing, behind, stop = 0, 1, 2 * (x.shape[1] // 2)
        conv = Conv(x.shape[-1], (3, 3, 3), (2, 1, 1), style=self.style, name="conv")(x)
        if self.style.causality != "noncausal":
            behind = 0
            x, missing = with_past(self, x, 1, self.style.replicates)
        x = jnp.pad(x, ((0, 0), (missing, behind), (0, 0), (0, 0), (0, 0)))
        mean = (x[:, 0:stop:2] + x[:, 1 : stop + 1 : 2] + x[:, 2 : stop + 2 : 2]) / 3
        return blend(self, mean, conv)


class TemporalUpsample(nn.Module):
    """Double the frames: a learned blend of repeated frames (in v1.1, interpolated ones) and a 3x3x3 convolution of them."""

    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if self.style.causality != "causal_v1_1":
            conv = Conv(x.shape[-1], repeat=(2, 1, 1), style=self.style, name="conv")
            return blend(self, jnp.repeat(x, 2, axis=1), conv(x))
        latent_frames = self.style.frames_per_latent
        interpolate = _interpolate if self.style.chunks == "exact" else _interpolate_as_upstream
        x = interpolate(self, x, latent_frames)
        style = dataclasses.replace(self.style, frames_per_latent=2 * latent_frames)
        return blend(self, x, Conv(x.shape[-1], style=style, name="conv")(x))


def blend(module: nn.Module, free: jax.Array, learned: jax.Array) -> jax.Array:
    """VidTok's AlphaBlender: sigmoid(mix_factor) of the parameter-free branch, the rest of the learned one."""
    alpha = nn.sigmoid(module.param("mix_factor", nn.initializers.constant(2.0), (1,))).astype(free.dtype)
    return alpha * free + (1 - alpha) * learned


def _interpolate(module: nn.Module, x: jax.Array, latent_frames: int) -> jax.Array:
    """Twice the frames, linearly between neighbours, but never between latent 0, the first `latent_frames` frames, and the rest.

    A frame lies at the centre of its two copies, so the last copy of a chunk waits for the neighbour in the next one: the first
    chunk gives one frame less than twice its own, the last chunk one more.
    """
    first = not module.has_variable(CACHE, "newest")
    position = 0 if first else module.get_variable(CACHE, "position")  # of the first frame of x, or of the one remembered
    x = x if first else jnp.concatenate([module.get_variable(CACHE, "newest"), x], axis=1)
    steps = x.shape[1] - 1
    parts = [x[:, :1]] if first else []
    parts.append(_between(x, position + jnp.arange(1, steps + 1) == latent_frames))
    if more_follows(module):
        module.put_variable(CACHE, "newest", x[:, -1:])
        module.put_variable(CACHE, "position", jnp.asarray(position + steps, jnp.int32))
    else:
        parts.append(x[:, -1:])
    return jnp.concatenate(parts, axis=1)


def _between(x: jax.Array, border: jax.Array) -> jax.Array:
    """Two frames for each pair of neighbours, a quarter and three quarters of the way; at a border copies of the two."""
    one, other = x[:, :-1].astype(jnp.float32), x[:, 1:].astype(jnp.float32)
    near = jnp.where(border, 1.0, 0.75)[:, None, None, None]
    pairs = jnp.stack([near * one + (1 - near) * other, (1 - near) * one + near * other], axis=2)
    return rearrange(pairs, "b t two h w c -> b (t two) h w c").astype(x.dtype)


def _interpolate_as_upstream(module: nn.Module, x: jax.Array, latent_frames: int) -> jax.Array:
    """The published code's interpolation in chunks, equal to the whole video's only where chunks overlap and latent_frames is 1.

    The frames that it takes for those before a chunk are the last latent's after the first chunk, and the last but one's later,
    whether the last latent comes again or not.
    """
    first = not module.has_variable(CACHE, "before")
    if first:
        before, border = x[:, -latent_frames:], latent_frames
    else:
        x = jnp.concatenate([module.get_variable(CACHE, "before"), x], axis=1)
        before, border = x[:, -2 * latent_frames : -latent_frames], 0
    if more_follows(module):
        module.put_variable(CACHE, "before", before)
    doubled = [x[:, :1], _between(x, jnp.arange(1, x.shape[1]) == border), x[:, -1:]]
    return jnp.concatenate(doubled, axis=1)[:, 0 if first else 2 * latent_frames :]
