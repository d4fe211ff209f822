"""The network of latent diffusion: DiT for images (arXiv 2212.09748), Latte for clips (arXiv 2401.03048).

Latents are cut into square patches; blocks attend within a frame, or with `temporal` in turn within a frame and along time at one
place. Every block is shifted, scaled and gated by what the noise level and the class say (adaLN-Zero). As published, numbers for
numbers; parameters are float32, `dtype` is of the products.

On several devices, tensor splits heads and hidden channels, and context splits the patches of a frame, which are exchanged for
heads while they attend to each other; along time every place attends for itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from tokjax.models.attention import attention
from tokjax.models.mesh import exchange, whole

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
        turns = [self.temporal and number % 2 == 1 for number in range(self.depth)]
        self.blocks = [made(self.width, self.heads, self.dtype, along_time) for along_time in turns]
        self.final = FinalLayer(self.width, self.patch**2 * self.outputs)

    def __call__(self, x: jax.Array, level: jax.Array, labels: jax.Array) -> jax.Array:
        """Latents [b,t,h,w,channels], noise levels [b] on a scale of 1000, labels int [b] -> [b,t,h,w,outputs]."""
        p, (_, rows, columns) = self.patch, x.shape[1:4]
        place, moment = self.tables()
        condition = nn.silu(self.time(level) + self.labels(labels))[:, None, None]
        x = self.patches(rearrange(x, "b t (h p) (w q) c -> b t (h w) (p q c)", p=p, q=p)) + place
        x = exchange(x, 2)
        for number, block in enumerate(self.blocks):
            if not block.along_time:
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
        return _linear(self.width, drawn, "outer", split=0)(nn.silu(_linear(self.width, drawn, "inner", split=1)(x)))


class AdaptiveBlock(nn.Module):
    """x + gate * attention(norm(x) * (1 + scale) + shift), and the same with an MLP.

    x is [b,n,s,width], attended along s, which are the patches of a frame or, `along_time`, the frames of a place.
    """

    width: int
    heads: int
    dtype: str
    along_time: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        modulation = _linear(6 * self.width, nn.initializers.zeros, "modulation", split=0)(condition)
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = jnp.split(modulation, 6, axis=-1)
        drawn, dtype = nn.initializers.xavier_uniform(), self.dtype
        places, way = (1, (1,)) if self.along_time else (2, (2, 3))  # the axis that context splits, and where it goes meanwhile
        y = _Heads(self.heads, dtype, name="qkv")(_normed(x) * (1 + scale) + shift)
        query, key, value = (exchange(y[..., part, :, :], *way, tensor=3) for part in range(3))
        y = exchange(attention(query, key, value, scale=query.shape[-1] ** -0.5), *way[::-1], tensor=3)
        x = exchange(x + gate * _linear(self.width, drawn, "projection", dtype, split=0)(y.reshape(x.shape)), places)
        y = _linear(4 * self.width, drawn, "inner", dtype, split=1)(_normed(x) * (1 + scale_mlp) + shift_mlp)
        y = exchange(nn.gelu(y, approximate=True), places, tensor=3)
        return exchange(x + gate_mlp * _linear(self.width, drawn, "outer", dtype, split=0)(y), places)


class _Heads(nn.Module):
    """Queries, keys and values [...,3,heads,c] of x [...,width], by the published kernel [width,3*width].

    Its columns are those of all queries, then all keys, then all values, so that a device's heads lie in three places. Over
    tensor it is kept by rows, which are exchanged for heads where it is used.
    """

    heads: int
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width, dtype, parts = x.shape[-1], jnp.dtype(self.dtype), (3, self.heads, x.shape[-1] // self.heads)
        kernel = self.param("kernel", nn.initializers.xavier_uniform(), (width, 3 * width)).astype(dtype)
        bias = self.param("bias", nn.initializers.zeros, (3 * width,)).astype(dtype)
        kernel = whole(whole(kernel, 0).reshape(width, *parts), 2)
        return jnp.einsum("...i,inhc->...nhc", x.astype(dtype), kernel) + bias.reshape(parts)


class FinalLayer(nn.Module):
    width: int
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array) -> jax.Array:
        shift, scale = jnp.split(_linear(2 * self.width, nn.initializers.zeros, "modulation", split=0)(condition), 2, axis=-1)
        return _linear(self.outputs, nn.initializers.zeros, "linear")(_normed(x) * (1 + scale) + shift)


def _linear(features: int, drawn: Any, name: str | None = None, dtype: str = "float32", split: int | None = None) -> nn.Dense:
    """A layer whose kernel the mesh's tensor axis splits along its axis `split`."""
    return nn.Dense(features, kernel_init=drawn, dtype=dtype, name=name, dot_general=partial(_product, split))


def _product(split: int | None, x: jax.Array, kernel: jax.Array, *rest: Any, **options: Any) -> jax.Array:
    return jax.lax.dot_general(x, whole(kernel, split), *rest, **options)


def _normed(x: jax.Array) -> jax.Array:
    """LayerNorm over channels without weights, eps 1e-6, in float32."""
    x = x.astype(jnp.float32)
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-6)
