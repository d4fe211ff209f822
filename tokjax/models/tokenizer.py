"""The face all models share: `build` makes a module from a config, `Tokenizer` turns videos into tokens and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tokjax.models.values import to_float, to_uint8
from tokjax.models.vidtok import VidTok

_FAMILIES = {"vidtok": VidTok}


def build(config: Mapping[str, Any]) -> VidTok:
    """The flax module of `config.model`.

    `module.init(key, video)` makes variables; `module.apply(variables, video, method="encode")` and `method="decode"` run it, on
    videos [b,t,h,w,3] in -1..1.
    """
    if config["family"] not in _FAMILIES:
        raise ValueError(f"unknown model family {config['family']!r}; there are: {', '.join(_FAMILIES)}")
    return _FAMILIES[config["family"]].from_config(config)


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A video as tokens.

    Attributes:
      latents: float32 [b,t',h',w',c].
      indices: int32 [b,t',h',w'], or None where latents are continuous (KL).
      shape: (t, h, w) of the video, which decoding gives back.
      dtype: of the video, which decoding gives back.
    """

    latents: jax.Array
    indices: jax.Array | None
    shape: tuple[int, int, int]
    dtype: np.dtype


class Tokenizer:
    """A model and its weights. Videos are [b,t,h,w,3], uint8 0..255 or float -1..1, of any length and size.

    The models want lengths and sides that they give back whole; anything else is padded by repeating the last frame, row and
    column, and cropped after decoding.

    Attributes:
      module, variables, config: for people who write their own loop.
    """

    def __init__(self, module: VidTok, variables: Mapping[str, Any], config: Any) -> None:
        self.module, self.variables, self.config = module, variables, config
        self._encode = jax.jit(lambda v, video, key: module.apply(v, video, key, method="encode"))
        self._decode = jax.jit(lambda v, latents: module.apply(v, latents, method="decode"))

    def encode(self, video: np.ndarray | jax.Array, rng: jax.Array | None = None) -> Encoded:
        """Video -> Encoded.

        Args:
          rng: a key draws KL latents around their mean; None takes the mean.

        Raises:
          ValueError: not [b,t,h,w,3], neither uint8 nor float, or a value that is not finite.
        """
        _check_video(video)
        quantized = self._encode(self.variables, self._padded(video), rng)
        return Encoded(quantized.latents, quantized.indices, tuple(video.shape[1:4]), np.dtype(video.dtype))

    def decode(self, tokens: Encoded | np.ndarray | jax.Array) -> np.ndarray:
        """Encoded -> the video, same shape and dtype as was encoded; latents or indices alone -> float32 of the model's own size.

        Raises:
          ValueError: latents of another width, indices out of range, or indices for a model without codes.
        """
        encoded = isinstance(tokens, Encoded)
        latents = self._latents(tokens.latents if encoded else tokens)
        video = self._decode(self.variables, latents)
        if not encoded:
            return np.asarray(video)
        t, h, w = tokens.shape
        video = video[:, :t, :h, :w]
        return np.asarray(to_uint8(video) if tokens.dtype == np.uint8 else video).astype(tokens.dtype, copy=False)

    def reconstruct(self, video: np.ndarray | jax.Array, rng: jax.Array | None = None) -> np.ndarray:
        """decode(encode(video)): same shape and dtype."""
        return self.decode(self.encode(video, rng))

    def _padded(self, video: np.ndarray | jax.Array) -> jax.Array:
        frames, *sides = video.shape[1:4]
        after = [self.module.whole_frames(frames) - frames] + [-side % self.module.space_factor for side in sides]
        return to_float(jnp.pad(jnp.asarray(video), [(0, 0), *((0, n) for n in after), (0, 0)], mode="edge"))

    def _latents(self, tokens: np.ndarray | jax.Array) -> jax.Array:
        quantizer, width = self.module.quantizer, self.module.latent_channels
        if tokens.ndim == 5 and jnp.issubdtype(tokens.dtype, jnp.floating):
            if tokens.shape[-1] != width:
                raise ValueError(f"these latents have {tokens.shape[-1]} channels, but this model's have {width}")
            return jnp.asarray(tokens)
        if tokens.ndim != 4 or not jnp.issubdtype(tokens.dtype, jnp.integer):
            raise ValueError(
                f"decode wants float latents [b,t,h,w,{width}] or integer indices [b,t,h,w], not {tokens.dtype} {tokens.shape}"
            )
        if quantizer.codebook_size is None:
            raise ValueError("this model has continuous latents and no codes, so it cannot decode indices; give it latents")
        if tokens.size and not 0 <= int(tokens.min()) <= int(tokens.max()) < quantizer.codebook_size:
            raise ValueError(
                f"indices must lie in 0..{quantizer.codebook_size - 1}; these reach from {tokens.min()} to {tokens.max()}"
            )
        return quantizer.indices_to_latents(jnp.asarray(tokens))


def _check_video(video: np.ndarray | jax.Array) -> None:
    if video.ndim != 5 or video.shape[-1] != 3 or 0 in video.shape:
        raise ValueError(
            f"a video has the shape [batch, time, height, width, 3], an image has time 1; this array has {tuple(video.shape)}"
        )
    if video.dtype == np.uint8:
        return
    if not jnp.issubdtype(video.dtype, jnp.floating):
        raise ValueError(f"a video is uint8 in 0..255 or float in -1..1, not {video.dtype}")
    if not bool(jnp.isfinite(jnp.asarray(video)).all()):
        raise ValueError("the video holds values that are not finite (NaN or infinity)")
