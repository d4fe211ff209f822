"""OmniTokenizer: a transformer autoencoder of images and videos, along space and then along time (Wang et al., arXiv 2406.09399).

The first frame of a clip is a token grid of its own and the frames after it make one grid for each `time_factor` frames, so
lengths 1, f+1, 2f+1, ... come back whole and an image is a clip of one frame. Tokens in a row are in the order (t, h, w).

`style.mode` (tokjax.models.token_layers) chooses between the arithmetic of the released weights and one that is causal in time.
In both, values inside the model are half of those at its face: -0.5..0.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from tokjax.models.patches import Embedding, Unembedding
from tokjax.models.token_layers import Linear, Style
from tokjax.models.transformer import Stack
from tokjax.quantizers import Quantized, Quantizer, make_quantizer


class Encoder(nn.Module):
    """Video [b,t,h,w,3] in -1..1 -> moments [b,t',h',w',outputs], float32.

    Attributes:
      embedding: makes tokens of patches.
      blocks, temporal_depth: letters of the stack along space; number of blocks of the stack along time.
      pool: (time, space): average pairs of token frames after the first; average squares of 2x2 tokens.
    """

    embedding: Embedding
    blocks: str
    temporal_depth: int
    style: Style
    pool: tuple[bool, bool]
    outputs: int

    @nn.compact
    def __call__(self, video: jax.Array, train: bool = False) -> jax.Array:
        x = self.embedding(video / 2, train)
        x = Stack(self.blocks, self.style, name="spatial")(x)
        x = Stack("t" * self.temporal_depth, self.style, along_time=True, name="temporal")(x)
        if self.pool[1]:
            x = nn.avg_pool(x, (1, 2, 2), strides=(1, 2, 2))
        if self.pool[0] and x.shape[1] > 1:
            x = jnp.concatenate([x[:, :1], nn.avg_pool(x[:, 1:], (2, 1, 1), strides=(2, 1, 1))], axis=1)
        return Linear(self.outputs, name="to_moments")(x)


class Decoder(nn.Module):
    """Latents [b,t',h',w',c] -> video [b,t,h,w,3], float32, unbounded: the mirror of `Encoder`."""

    unembedding: Unembedding
    blocks: str
    temporal_depth: int
    width: int
    style: Style
    pool: tuple[bool, bool]

    @nn.compact
    def __call__(self, latents: jax.Array, train: bool = False) -> jax.Array:
        x = Linear(self.width, name="from_latents")(latents).astype(self.style.dtype)
        if self.pool[1]:
            x = jnp.repeat(jnp.repeat(x, 2, axis=2), 2, axis=3)
        if self.pool[0]:
            x = jnp.concatenate([x[:, :1], jnp.repeat(x[:, 1:], 2, axis=1)], axis=1)
        x = Stack("t" * self.temporal_depth, self.style, along_time=True, name="temporal")(x)
        x = Stack(self.blocks, self.style, name="spatial")(x)
        return self.unembedding(x, train) * 2


class OmniTokenizer(nn.Module):
    """The autoencoder; attributes are the keys of `config.model`."""

    width: int
    patch: int
    time_factor: int
    encoder_blocks: str
    decoder_blocks: str
    temporal_depth: int
    embedding: Literal["linear", "plain", "cnn"]
    defer_time_pool: bool
    defer_space_pool: bool
    upscale: int
    latent_channels: int
    style: Style
    quantizer: Quantizer

    last_layer = ("decoder", "unembedding")  # the module that makes pixels

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> OmniTokenizer:
        """The model of `config.model`."""
        own = ("width", "patch", "time_factor", "encoder_blocks", "decoder_blocks", "temporal_depth", "embedding")
        own += ("defer_time_pool", "defer_space_pool", "upscale", "latent_channels")
        shared = ("heads", "head_width", "window", "position", "causal", "causal_convolution", "mode", "init", "dtype", "remat")
        style = Style(explicit=config["attention"] == "explicit", **{name: config[name] for name in shared})
        quantizer = make_quantizer(config["quantizer"])
        return cls(style=style, quantizer=quantizer, **{name: config[name] for name in own})

    @property
    def space_factor(self) -> int:
        """Pixels along a side for one latent."""
        return self.patch * 2 ** sum(letter in "aml" for letter in self.encoder_blocks)

    @property
    def streamable(self) -> bool:
        """Never: attention along time looks at all of a clip, in the sound mode at all that came before, however long ago."""
        return False

    def pad_frames(self, frames: int) -> tuple[int, int]:
        """(0, copies of the last frame) that make a clip one longer than a multiple of the time factor."""
        return 0, (1 - frames) % self.time_factor

    def pad_sides(self, height: int, width: int) -> tuple[int, int]:
        """The size that a frame is enlarged to: whole patches and whole windows; square in the published mode."""
        windows = "w" in self.encoder_blocks + self.decoder_blocks
        unit = self.space_factor * (self.style.window if windows else 1)
        height, width = (-(-side // unit) * unit for side in (height, width))
        return (max(height, width),) * 2 if self.style.mode == "published" else (height, width)

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int]:
        """(t, h, w, c) of the latents of a clip, padded where it has to be."""
        frames = frames + sum(self.pad_frames(frames))
        height, width = self.pad_sides(height, width)
        side = self.space_factor
        return 1 + (frames - 1) // self.time_factor, height // side, width // side, self.latent_channels

    def setup(self) -> None:
        frames, side = self.time_factor // (1 + self.defer_time_pool), self.patch // (1 + self.defer_space_pool)
        pool = (self.defer_time_pool, self.defer_space_pool)
        embedding = Embedding(frames, side, self.width, self.embedding, self.style, parent=None)
        unembedding = Unembedding(frames, side * self.upscale, self.embedding, self.style, parent=None)
        outputs = self.latent_channels * self.quantizer.moments_per_latent
        self.encoder = Encoder(embedding, self.encoder_blocks, self.temporal_depth, self.style, pool, outputs)
        self.decoder = Decoder(unembedding, self.decoder_blocks, self.temporal_depth, self.width, self.style, pool)

    def moments(self, video: jax.Array, train: bool = False) -> jax.Array:
        """Encoder output before quantization: video [b,t,h,w,3] in -1..1 -> float32 [b,t',h',w',latent_channels * 1 or 2].

        Raises:
          ValueError: a length or size that has to be padded first (pad_frames, pad_sides).
        """
        _, frames, height, width, _ = video.shape
        if (frames - 1) % self.time_factor:
            raise ValueError(f"a clip of {frames} frames is not one longer than a multiple of {self.time_factor}; pad it first")
        if height % self.space_factor or width % self.space_factor:
            raise ValueError(f"frames of {height}x{width} are not made of patches of {self.space_factor} pixels; pad them first")
        if self.style.mode == "published" and height != width:
            raise ValueError(f"frames of {height}x{width} are not square, which config.model.mode='published' asks for; pad them")
        return self.encoder(video, train)

    def encode(self, video: jax.Array, rng: jax.Array | None = None, train: bool = False, step: jax.Array | int = 0) -> Quantized:
        """Video [b,t,h,w,3] in -1..1 -> Quantized.

        Args:
          rng: key of the quantizer's noise; None takes the mode.
          train: compute the quantizer's losses, and renew state that is not learned by gradients where it is mutable.
          step: training step, for losses that are annealed.
        """
        return self.quantizer(self.moments(video, train), rng, train, step)

    def decode(self, latents: jax.Array, train: bool = False) -> jax.Array:
        """Latents [b,t',h',w',c] -> video [b, 1+f*(t'-1), h, w, 3], unbounded; sides are `upscale` times those encoded."""
        return self.decoder(latents, train)

    def indices_to_latents(self, indices: jax.Array) -> jax.Array:
        """int32 [b,t',h',w'] -> latents [b,t',h',w',c]."""
        return self.quantizer.indices_to_latents(indices)

    def __call__(
        self, video: jax.Array, rng: jax.Array | None = None, train: bool = False, step: jax.Array | int = 0
    ) -> tuple[jax.Array, Quantized]:
        """Reconstruction and what was encoded."""
        quantized = self.encode(video, rng, train, step)
        return self.decode(quantized.latents, train), quantized
