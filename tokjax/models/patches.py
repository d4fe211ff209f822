"""Patches of a video and tokens: the first frame is cut into squares, the frames after it into tubes of several frames each.

Both kinds have weights of their own, so that an image is the first frame of a video. Patches list their values in the order
(colour, frame, row, column).
"""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from tokjax.models.token_layers import Linear, Norm, Style

ORDER = "b (t f) (h p) (w q) c -> b t h w (c f p q)"


class _PatchToToken(nn.Module):
    """Frames [b, t*frames, h*side, w*side, 3] -> tokens [b,t,h,w,width]."""

    frames: int
    side: int
    width: int
    kind: str
    style: Style

    @nn.compact
    def __call__(self, video: jax.Array, train: bool) -> jax.Array:
        x = rearrange(video, ORDER, f=self.frames, p=self.side, q=self.side)
        linear = Linear(self.width, init=self.style.init, dtype=self.style.dtype, name="linear")
        if self.kind == "cnn":
            return _batch_norm(train)(linear(x))
        if self.kind == "linear":
            x = Norm(bias=True, name="norm_in")(x)
        return Norm(bias=True, name="norm_out")(linear(x))


class _TokenToPatch(nn.Module):
    """Tokens [b,t,h,w,d] -> frames [b, t*frames, h*side, w*side, 3], float32."""

    frames: int
    side: int
    kind: str
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        values, cnn = 3 * self.frames * self.side**2, self.kind == "cnn"
        x = Linear(values, not cnn, self.style.init, self.style.dtype, name="linear")(x).astype(jnp.float32)
        before, after = reversed(ORDER.split(" -> ")), {"f": self.frames, "p": self.side, "q": self.side}
        video = rearrange(x, " -> ".join(before), **after)
        if not cnn:
            return video
        bias = self.param("bias", lambda key: jax.random.uniform(key, (3,), jnp.float32, -1, 1) * values**-0.5)
        return _batch_norm(train)(video + bias)


def _batch_norm(train: bool) -> nn.BatchNorm:
    """Over all but the channels; under a sharded jit the batch is that of all devices."""
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, name="norm")


class Embedding(nn.Module):
    """Video [b,t,h,w,3] -> tokens [b, 1 + (t-1)/frames, h/side, w/side, width].

    Attributes:
      frames, side: extent of a tube.
      kind: "linear", as released, normalises a patch's values, which loses its brightness and contrast, projects them and
        normalises again; "plain" does without the first of the two norms; "cnn" is a strided convolution followed by batch
        normalisation.
    """

    frames: int
    side: int
    width: int
    kind: Literal["linear", "plain", "cnn"]
    style: Style

    @nn.compact
    def __call__(self, video: jax.Array, train: bool = False) -> jax.Array:
        first = _PatchToToken(1, self.side, self.width, self.kind, self.style, name="first_frame")(video[:, :1], train)
        if video.shape[1] == 1 and not self.is_initializing():
            return first
        rest = _PatchToToken(self.frames, self.side, self.width, self.kind, self.style, name="rest")(video[:, 1:], train)
        return jnp.concatenate([first, rest], axis=1)


class Unembedding(nn.Module):
    """Tokens [b,t,h,w,d] -> video [b, 1 + (t-1)*frames, h*side, w*side, 3], float32: the mirror of `Embedding`."""

    frames: int
    side: int
    kind: Literal["linear", "plain", "cnn"]
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        first = _TokenToPatch(1, self.side, self.kind, self.style, name="first_frame")(x[:, :1], train)
        if x.shape[1] == 1 and not self.is_initializing():
            return first
        rest = _TokenToPatch(self.frames, self.side, self.kind, self.style, name="rest")(x[:, 1:], train)
        return jnp.concatenate([first, rest], axis=1)
