"""VidTok, causal v1.0: a 3-D convolutional autoencoder of (2+1)-D residual blocks (Tang et al., arXiv 2412.13061).

The arithmetic is the published code's, defaults and quirks included: a clip whose length is no multiple of the time factor f
gets f-1 copies of its first frame in front, and the decoder always drops its first f-1 frames, so that lengths 1, f+1, 2f+1, ...
come back whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tokjax.models import layers
from tokjax.quantizers import Quantized, Quantizer, make_quantizer


class EncoderLevel(nn.Module):
    """Pairs of spatial and temporal residual blocks at one resolution, then the downsampling that leads to the next."""

    features: int
    blocks: int
    halve_space: bool
    halve_time: bool
    style: layers.Style

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = _block_pairs(x, self.features, self.blocks, self.style)
        if self.halve_space:
            x = layers.SpatialDownsample(self.style, name="downsample")(x)
            if self.halve_time:  # as published: only where space is halved too
                x = layers.TemporalDownsample(self.style, name="temporal_downsample")(x)
        return x


class DecoderLevel(nn.Module):
    """Pairs of spatial and temporal residual blocks at one resolution, then the upsampling that leads to the next."""

    features: int
    blocks: int
    double_space: bool
    double_time: bool
    style: layers.Style

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = _block_pairs(x, self.features, self.blocks, self.style)
        if self.double_space:
            x = layers.SpatialUpsample(self.style, name="upsample")(x)
            if self.double_time:
                x = layers.TemporalUpsample(self.style, name="temporal_upsample")(x)
        return x


def _block_pairs(x: jax.Array, features: int, blocks: int, style: layers.Style) -> jax.Array:
    for j in range(blocks):
        x = layers.ResidualBlock(features, (1, 3, 3), style, name=f"block_{j}")(x)
        x = layers.ResidualBlock(features, (3, 1, 1), style, name=f"temporal_block_{j}")(x)
    return x


class Middle(nn.Module):
    """3-D residual block, attention within each frame, 3-D residual block."""

    style: layers.Style

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        x = layers.ResidualBlock(width, (3, 3, 3), self.style, name="block_1")(x)
        x = layers.FrameAttention(self.style, name="attn_1")(x)
        return layers.ResidualBlock(width, (3, 3, 3), self.style, name="block_2")(x)


class Encoder(nn.Module):
    """Video [b,t,h,w,3] -> moments [b, t', h', w', outputs], float32."""

    model: VidTok
    outputs: int

    @nn.compact
    def __call__(self, video: jax.Array) -> jax.Array:
        m, style = self.model, self.model.style
        if video.shape[1] % m.time_factor:
            copies = jnp.repeat(video[:, :1], m.time_factor - 1, axis=1)
            video = jnp.concatenate([copies, video], axis=1)
        x = layers.Conv(m.channels, style=style, name="conv_in")(video)
        level = nn.remat(EncoderLevel) if m.remat else EncoderLevel
        for i, features in enumerate(m.widths):
            halve = (i in m.spatial_down, i in m.time_down)
            x = level(features, m.blocks_per_level, *halve, m.style, name=f"level_{i}")(x)
        x = Middle(style, name="mid")(x)
        x = nn.silu(layers.Norm(style.norm, name="norm_out")(x))
        return layers.Conv(self.outputs, style=style, name="conv_out")(x).astype(jnp.float32)


class Decoder(nn.Module):
    """Latents [b,t',h',w',c] -> video [b,t,h,w,3], float32, unbounded."""

    model: VidTok

    @nn.compact
    def __call__(self, latents: jax.Array) -> jax.Array:
        m, style = self.model, self.model.style
        x = layers.Conv(m.widths[-1], style=style, name="conv_in")(latents)
        x = Middle(style, name="mid")(x)
        level = nn.remat(DecoderLevel) if m.remat else DecoderLevel
        for i in reversed(range(len(m.widths))):
            double = (i in m.spatial_up, i in m.time_up)
            x = level(m.widths[i], m.blocks_per_level + 1, *double, m.style, name=f"level_{i}")(x)
        x = nn.silu(layers.Norm(style.norm, name="norm_out")(x))
        x = layers.Conv(3, style=style, name="conv_out")(x).astype(jnp.float32)
        return x[:, m.time_factor - 1 :]


class VidTok(nn.Module):
    """The autoencoder. Levels count from 0 (full resolution); attributes are the keys of `config.model`."""

    channels: int
    channel_multipliers: tuple[int, ...]
    blocks_per_level: int
    latent_channels: int
    time_factor: int
    spatial_down: tuple[int, ...]
    spatial_up: tuple[int, ...]
    time_down: tuple[int, ...]
    time_up: tuple[int, ...]
    style: layers.Style
    remat: bool
    quantizer: Quantizer

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> VidTok:
        """Fills in the published positions of the resampling where the config leaves them empty."""
        levels = len(config["channel_multipliers"])
        return cls(
            channels=config["channels"],
            channel_multipliers=tuple(config["channel_multipliers"]),
            blocks_per_level=config["blocks_per_level"],
            latent_channels=config["latent_channels"],
            time_factor=config["time_factor"],
            spatial_down=tuple(config["spatial_down"]) or tuple(range(levels - 1)),
            spatial_up=tuple(config["spatial_up"]) or tuple(range(1, levels)),
            time_down=tuple(config["time_down"]) or (levels - 2, levels - 3),
            time_up=tuple(config["time_up"]) or (1, 2),
            style=layers.Style(config["norm"], config["init"], config["dtype"]),
            remat=config["remat"],
            quantizer=make_quantizer(config["quantizer"]),
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at each level."""
        return tuple(self.channels * multiplier for multiplier in self.channel_multipliers)

    @property
    def space_factor(self) -> int:
        """Pixels along a side for one latent."""
        return 2 ** len(self.spatial_down)

    def whole_frames(self, frames: int) -> int:
        """The shortest length >= frames that comes back from the decoder as long as it went in: one more than a multiple of f."""
        return frames + (1 - frames) % self.time_factor

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(t, h, w, c) of the latents of a clip."""
        side = self.space_factor
        return (-(-frames // self.time_factor), height // side, width // side, self.latent_channels)

    def setup(self) -> None:
        self.encoder = Encoder(self.clone(parent=None), self.latent_channels * self.quantizer.moments_per_latent)
        self.decoder = Decoder(self.clone(parent=None))

    def moments(self, video: jax.Array) -> jax.Array:
        """Encoder output before quantization: video [b,t,h,w,3] in -1..1 -> float32 [b,t',h',w',latent_channels * 1 or 2]."""
        return self.encoder(video)

    def encode(self, video: jax.Array, rng: jax.Array | None = None, train: bool = False, step: jax.Array | int = 0) -> Quantized:
        """Video [b,t,h,w,3] in -1..1 -> Quantized.

        Args:
          rng: key of the quantizer's noise; None takes the mode.
          train: compute the quantizer's losses.
          step: training step, for losses that are annealed.
        """
        return self.quantizer(self.encoder(video), rng, train, step)

    def decode(self, latents: jax.Array) -> jax.Array:
        """Latents [b,t',h',w',c] -> video [b, f*(t'-1)+1, h, w, 3], unbounded."""
        return self.decoder(latents)

    def __call__(
        self, video: jax.Array, rng: jax.Array | None = None, train: bool = False, step: jax.Array | int = 0
    ) -> tuple[jax.Array, Quantized]:
        """Reconstruction and what was encoded."""
        quantized = self.encode(video, rng, train, step)
        return self.decode(quantized.latents), quantized
