"""VidTok: convolutional autoencoders of (2+1)-D residual blocks (Tang et al., arXiv 2412.13061), all three families.

The arithmetic is the published code's, defaults and quirks included. With f the time factor, a clip of t frames becomes

  causal        ceil(t / f) latents: f-1 copies of the first frame come before it where f does not divide t, and the decoder drops
                its first f-1 frames, so that 1, f+1, 2f+1, ... frames come back whole and other lengths shorter;
  causal_v1_1   ceil(t / f) latents: as many copies as it takes to reach a multiple of f, and the last t frames are kept;
  noncausal     floor(t / f) latents: multiples of f come back whole, of other lengths the end is lost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tokjax.models.layers import Style
from tokjax.models.memory import CACHE
from tokjax.models.vidtok_levels import Decoder, Encoder, Plan
from tokjax.quantizers import Quantized, Quantizer, make_quantizer


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
    architecture: str
    style: Style
    remat: bool
    quantizer: Quantizer

    last_layer = ("decoder", "conv_out")  # the module that makes pixels

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
            architecture=config["architecture"],
            style=Style(config["norm"], config["init"], config["dtype"], config["causality"]),
            remat=config["remat"],
            quantizer=make_quantizer(config["quantizer"]),
        )

    @property
    def causality(self) -> str:
        return self.style.causality

    @property
    def streamable(self) -> bool:
        """Whether chunks of a video can give what the whole video gives."""
        return self.causality != "noncausal"

    @property
    def space_factor(self) -> int:
        """Pixels along a side for one latent."""
        return 2 ** len(self.spatial_down)

    def front_copies(self, frames: int) -> int:
        """How many copies of its first frame `moments` puts before a clip."""
        lacking = -frames % self.time_factor
        if self.causality == "causal":
            return self.time_factor - 1 if lacking else 0
        return lacking if self.causality == "causal_v1_1" else 0

    def pad_frames(self, frames: int) -> tuple[int, int]:
        """How many copies of its first and of its last frame a clip needs around it so that decoding gives all of it back."""
        if self.causality == "causal":
            return 0, (1 - frames) % self.time_factor
        return (self.front_copies(frames), 0) if self.causality == "causal_v1_1" else (0, -frames % self.time_factor)

    def pad_sides(self, height: int, width: int) -> tuple[int, int]:
        """The smallest height and width that hold these and come back whole."""
        side = self.space_factor
        return height + -height % side, width + -width % side

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(t, h, w, c) of the latents of a clip."""
        side = self.space_factor
        times = (frames + self.front_copies(frames)) // self.time_factor
        return (times, height // side, width // side, self.latent_channels)

    def setup(self) -> None:
        shared = {field.name for field in dataclasses.fields(Plan)} - {"widths"}
        widths = tuple(self.channels * multiplier for multiplier in self.channel_multipliers)
        plan = Plan(widths=widths, **{name: getattr(self, name) for name in shared})
        self.encoder = Encoder(plan, self.latent_channels * self.quantizer.moments_per_latent)
        self.decoder = Decoder(plan)

    def moments(self, video: jax.Array) -> jax.Array:
        """Encoder output before quantization: video [b,t,h,w,3] in -1..1 -> float32 [b,t',h',w',latent_channels * 1 or 2].

        Raises:
          ValueError: a clip shorter than a latent, in the non-causal family.
        """
        frames = video.shape[1]
        copies = self.front_copies(frames)
        if not self.streamable and frames < self.time_factor:
            if not self.is_initializing():  # parameters do not depend on the length
                raise ValueError(f"a non-causal model needs clips of at least {self.time_factor} frames; this one has {frames}")
            copies = self.time_factor - frames
        if copies:
            video = jnp.concatenate([jnp.repeat(video[:, :1], copies, axis=1), video], axis=1)
        return self.encoder(video)

    def encode(self, video: jax.Array, rng: jax.Array | None = None, train: bool = False, step: jax.Array | int = 0) -> Quantized:
        """Video [b,t,h,w,3] in -1..1 -> Quantized.

        Args:
          rng: key of the quantizer's noise; None takes the mode.
          train: compute the quantizer's losses.
          step: training step, for losses that are annealed.
        """
        return self.quantizer(self.moments(video), rng, train, step)

    def decode(self, latents: jax.Array) -> jax.Array:
        """Latents [b,t',h',w',c] -> video [b, f*t', h, w, 3], unbounded; the causal family's lacks the first f-1 frames."""
        starts = self.is_initializing() or not self.decoder.has_variable(CACHE, "conv_in")
        video = self.decoder(latents)
        return video[:, self.time_factor - 1 :] if starts and self.causality == "causal" else video

    def indices_to_latents(self, indices: jax.Array) -> jax.Array:
        """Codes [b,t',h',w'] or, where there are several codebooks, [b,t',h',w',n] -> what the decoder wants for them."""
        return self.quantizer.indices_to_latents(indices)

    def __call__(
        self, video: jax.Array, rng: jax.Array | None = None, train: bool = False, step: jax.Array | int = 0
    ) -> tuple[jax.Array, Quantized]:
        """Reconstruction, no longer than the video, and what was encoded."""
        quantized = self.encode(video, rng, train, step)
        return self.decode(quantized.latents)[:, -video.shape[1] :], quantized
