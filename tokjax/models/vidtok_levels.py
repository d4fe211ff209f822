"""VidTok's parts: levels of residual blocks and resampling, the middle, encoder and decoder.

`architecture` is "published", or one of the paper's Table 2: "full_3d" (a 3-D block for each pair of spatial and temporal
ones, one 3-D convolution to resample space and time together), "no_blender" (a plain temporal convolution resamples time) and
"no_3d" (pairs of spatial and temporal blocks in the middle too).
"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from tokjax.models import layers
from tokjax.models.time_resampling import TemporalDownsample, TemporalUpsample

FRAME, TIME, BOTH = (1, 3, 3), (3, 1, 1), (3, 3, 3)  # kernels


class EncoderLevel(nn.Module):
    """Residual blocks at one resolution, then the downsampling that leads to the next."""

    features: int
    blocks: int
    halve_space: bool
    halve_time: bool
    architecture: str
    style: layers.Style
    remat: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = _residual_blocks(x, self.features, self.blocks, self.architecture, self.style, self.remat)
        if not self.halve_space:
            return x  # as published: time is halved only where space is halved too
        if self.architecture == "full_3d":
            pads = ((1 if self.halve_time else 2, 0), (0, 1), (0, 1))
            strides = (2 if self.halve_time else 1, 2, 2)
            return layers.Conv(self.features, BOTH, strides, pads, style=self.style, name="joint_downsample")(x)
        x = layers.SpatialDownsample(self.style, name="downsample")(x)
        if not self.halve_time:
            return x
        if self.architecture == "no_blender":
            return layers.Conv(self.features, TIME, (2, 1, 1), style=self.style, name="temporal_downsample")(x)
        return _part(TemporalDownsample, self.remat)(self.style, name="temporal_downsample")(x)


class DecoderLevel(nn.Module):
    """Residual blocks at one resolution, then the upsampling that leads to the next."""

    features: int
    blocks: int
    double_space: bool
    double_time: bool
    architecture: str
    style: layers.Style
    remat: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = _residual_blocks(x, self.features, self.blocks, self.architecture, self.style, self.remat)
        if not self.double_space:
            return x
        if self.architecture == "full_3d":
            repeat = (2 if self.double_time else 1, 2, 2)
            return layers.Conv(self.features, BOTH, repeat=repeat, style=self.style, name="joint_upsample")(x)
        x = _part(layers.SpatialUpsample, self.remat)(self.style, name="upsample")(x)
        if not self.double_time:
            return x
        if self.architecture == "no_blender":
            return layers.Conv(self.features, TIME, repeat=(2, 1, 1), style=self.style, name="temporal_upsample")(x)
        return _part(TemporalUpsample, self.remat)(self.style, name="temporal_upsample")(x)


def _part(module: type[nn.Module], remat: bool) -> type[nn.Module]:
    """Of a level: with remat its input alone is stored, and what the backward pass needs of it is computed again in its turn."""
    return nn.remat(module) if remat else module


def _residual_blocks(x: jax.Array, features: int, blocks: int, architecture: str, style: layers.Style, remat: bool) -> jax.Array:
    block = _part(layers.ResidualBlock, remat)
    for j in range(blocks):
        if architecture == "full_3d":
            x = block(features, BOTH, style, name=f"joint_block_{j}")(x)
        else:
            x = block(features, FRAME, style, name=f"block_{j}")(x)
            x = block(features, TIME, style, name=f"temporal_block_{j}")(x)
    return x


class Middle(nn.Module):
    """3-D residual block, attention within each frame, 3-D residual block."""

    architecture: str
    style: layers.Style

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = self._block(x, 1)
        x = layers.FrameAttention(self.style, name="attn_1")(x)
        return self._block(x, 2)

    def _block(self, x: jax.Array, number: int) -> jax.Array:
        width = x.shape[-1]
        if self.architecture != "no_3d":
            return layers.ResidualBlock(width, BOTH, self.style, name=f"block_{number}")(x)
        x = layers.ResidualBlock(width, FRAME, self.style, name=f"frame_block_{number}")(x)
        return layers.ResidualBlock(width, TIME, self.style, name=f"temporal_block_{number}")(x)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What encoder and decoder are built from; see VidTok for the attributes. Levels count from 0, the full resolution."""

    channels: int
    widths: tuple[int, ...]
    blocks_per_level: int
    spatial_down: tuple[int, ...]
    spatial_up: tuple[int, ...]
    time_down: tuple[int, ...]
    time_up: tuple[int, ...]
    architecture: str
    style: layers.Style
    remat: bool


class Encoder(nn.Module):
    """Video [b,t,h,w,3] -> moments [b,t',h',w',outputs], float32. What the length lacks has been put before it."""

    plan: Plan
    outputs: int

    @nn.compact
    def __call__(self, video: jax.Array) -> jax.Array:
        plan, style = self.plan, self.plan.style
        x = layers.Conv(plan.channels, style=style, name="conv_in")(video)
        for i, width in enumerate(plan.widths):
            halve = (i in plan.spatial_down, i in plan.time_down)
            x = EncoderLevel(width, plan.blocks_per_level, *halve, plan.architecture, style, plan.remat, name=f"level_{i}")(x)
        x = Middle(plan.architecture, style, name="mid")(x)
        x = nn.silu(layers.norm_like(style, name="norm_out")(x))
        return layers.Conv(self.outputs, style=style, name="conv_out")(x).astype(jnp.float32)


class Decoder(nn.Module):
    """Latents [b,t',h',w',c] -> video [b,f*t',h,w,3], float32, unbounded; shorter or longer where the chunks of v1.1 meet."""

    plan: Plan

    @nn.compact
    def __call__(self, latents: jax.Array) -> jax.Array:
        plan, style = self.plan, self.plan.style
        x = layers.Conv(plan.widths[-1], style=style, name="conv_in")(latents)
        x = Middle(plan.architecture, style, name="mid")(x)
        for i in reversed(range(len(plan.widths))):
            double, blocks = (i in plan.spatial_up, i in plan.time_up), plan.blocks_per_level + 1
            x = DecoderLevel(plan.widths[i], blocks, *double, plan.architecture, style, plan.remat, name=f"level_{i}")(x)
            if all(double):
                style = dataclasses.replace(style, frames_per_latent=2 * style.frames_per_latent)
        x = nn.silu(layers.norm_like(style, name="norm_out")(x))
        return layers.Conv(3, style=style, name="conv_out")(x).astype(jnp.float32)
