"""The network of latent diffusion: DiT for images (arXiv 2212.09748), Latte for clips (arXiv 2401.03048).

Latents are cut into square patches; blocks attend within a frame, or with `temporal` in turn within a frame and along time at one
place. Every block is shifted, scaled and gated by what the noise level and the class say (adaLN-Zero). As published, numbers for
numbers; parameters are float32, `dtype` is of the products.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from tokjax.models.attention import attention

TIME_CHANNELS = 256


class DiffusionTransformer(nn.Module):
    """Attributes:
    grid: (t,h,w) of the latents; channels: theirs.
    patch: latents along the side of a patch.
    outputs: values for each latent, 2 * channels with a learned variance.
    temporal: every second block attends along time.
    classes: 0 without; the label `classes` means none.
    """

    grid: tuple[int, int, int]
    channels: int
    patch: int
    width: int
    depth: int
    heads: int
    outputs: int
    classes: int = 0
    temporal: bool = False
    dtype: str = "float32"
    remat: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DiffusionTransformer:
        """Of `config.model`."""
        same = ("channels", "patch", "width", "depth", "heads", "classes", "temporal", "dtype", "remat")
        outputs = (1 + config["learned_range"]) * config["channels"]
        return cls(tuple(config["grid"]), outputs=outputs, **{name: config[name] for name in same})

    def setup(self) -> None:
        self.patches = _linear(self.width, nn.initializers.xavier_uniform())
        self.time = NoiseLevel(self.width)
        self.labels = nn.Embed(self.classes + 1, self.width, embedding_init=nn.initializers.normal(0.02))
        made = nn.remat(AdaptiveBlock) if self.remat else AdaptiveBlock
        self.blocks = [made(self.width, self.heads, self.dtype) for _ in range(self.depth)]
        self.final = FinalLayer(self.width, self.patch**2 * self.outputs)

    def __call__(self, x: jax.Array, level: jax.Array, labels: jax.Array) -> jax.Array:
        """Latents [b,t,h,w,channels], noise levels [b] on a scale of 1000, labels int [b] -> [b,t,h,w,outputs]."""
        p, (_, rows, columns) = self.patch, x.shape[1:4]
        place, moment = self.tables()
        condition = nn.silu(self.time(level) + self.labels(labels))[:, None, None]
        x = self.patches(rearrange(x, "b t (h p) (w q) c -> b t (h w) (p q c)", p=p, q=p)) + place
        for number, block in enumerate(self.blocks):
            if not (self.temporal and number % 2):
                x = block(x, condition)
                continue
            x = jnp.swapaxes(x, 1, 2)
            x = jnp.swapaxes(block(x + moment if number == 1 else x, condition), 1, 2)
        x = self.final(x, condition)
        return rearrange(x, "b t (h w) (p q c) -> b t (h p) (w q) c", h=rows // p, w=columns // p, p=p, q=p)

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Where a patch lies in its frame [h*w,width] and when its frame comes [t,width], fixed sines and cosines."""
        frames, height, width = self.grid
        row, column = np.divmod(np.arange(height * width // self.patch**2), width // self.patch)
        half = self.width // 2
        place = np.concatenate([waves(column, half), waves(row, half)], axis=1)
        return place.astype(np.float32), waves(np.arange(frames), self.width).astype(np.float32)


def waves(places: np.ndarray, channels: int) -> np.ndarray:
    """Sines, then cosines of places at frequencies 10000^(-2k/channels), float64 [n,channels]."""
    frequency = 10000.0 ** (-np.arange(channels // 2) / (channels / 2))
    angle = np.outer(places, frequency)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


class NoiseLevel(nn.Module):
    """Levels [b] -> [b,width]: cosines and sines at frequencies exp(-ln(10000) k / 128), and two layers."""

    width: int

    @nn.compact
    def __call__(self, level: jax.Array) -> jax.Array:
        half = TIME_CHANNELS // 2
        frequency = np.exp(-np.log(10000.0) * np.arange(half) / half).astype(np.float32)
        angle = level.astype(jnp.float32)[:, None] * frequency
        x = jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)
        drawn = nn.initializers.normal(0.02)
        return _linear(self.width, drawn, "outer")(nn.silu(_linear(self.width, drawn, "inner")(x)))


class AdaptiveBlock(nn.Module):
    """x + gate * attention(norm(x) * (1 + scale) + shift), and the same with an MLP. x is [b,n,s,width], attended along s."""

    width: int
    heads: int
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        modulation = _linear(6 * self.width, nn.initializers.zeros, "modulation")(condition)
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = jnp.split(modulation, 6, axis=-1)
        drawn, dtype = nn.initializers.xavier_uniform(), self.dtype
        y = _linear(3 * self.width, drawn, "qkv", dtype)(_normed(x) * (1 + scale) + shift)
        query, key, value = (part.reshape(*x.shape[:-1], self.heads, -1) for part in jnp.split(y, 3, axis=-1))
        y = attention(query, key, value, scale=query.shape[-1] ** -0.5).reshape(x.shape)
        x = x + gate * _linear(self.width, drawn, "projection", dtype)(y)
        y = _linear(4 * self.width, drawn, "inner", dtype)(_normed(x) * (1 + scale_mlp) + shift_mlp)
        return x + gate_mlp * _linear(self.width, drawn, "outer", dtype)(nn.gelu(y, approximate=True))


class FinalLayer(nn.Module):
    width: int
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        shift, scale = jnp.split(_linear(2 * self.width, nn.initializers.zeros, "modulation")(condition), 2, axis=-1)
        return _linear(self.outputs, nn.initializers.zeros, "linear")(_normed(x) * (1 + scale) + shift)


def _linear(features: int, drawn: Any, name: str | None = None, dtype: str = "float32") -> nn.Dense:
    return nn.Dense(features, kernel_init=drawn, dtype=dtype, name=name)


def _normed(x: jax.Array) -> jax.Array:
    """LayerNorm over channels without weights, eps 1e-6, in float32."""
    x = x.astype(jnp.float32)
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-6)
