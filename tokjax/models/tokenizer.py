"""The face all models share: `build` makes a module from a config, `Tokenizer` turns videos into tokens and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from tokjax.models import streaming, upstream_chunks
from tokjax.models.mesh import laid_on, lay, replicated, serving_mesh
from tokjax.models.omnitokenizer import OmniTokenizer
from tokjax.models.tiles import Tile, in_tiles, tile_in_latents
from tokjax.models.values import check_video, from_float, require_array, to_float
from tokjax.models.vidtok import VidTok
from tokjax.quantizers import Quantized

Mode = Literal["exact", "upstream"]

_FAMILIES = {"vidtok": VidTok, "omnitokenizer": OmniTokenizer}


def build(config: Mapping[str, Any]) -> VidTok | OmniTokenizer:
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
      indices: int32 [b,t',h',w'], or [b,t',h',w',n] of n codebooks, or None where latents are continuous (KL).
      shape: (t, h, w) of the video, which decoding gives back.
      dtype: of the video, which decoding gives back.
    """

    latents: jax.Array
    indices: jax.Array | None
    shape: tuple[int, int, int]
    dtype: np.dtype


class Tokenizer:
    """A model and its weights. Videos are [b,t,h,w,3], uint8 0..255 or float -1..1, of any length and size.

    A model wants lengths and sides that it gives back whole. Others are padded, and cropped after decoding: the last row and
    column are repeated, and the last frame, or in VidTok's causal v1.1 models the first.

    `chunk_frames` encodes or decodes a long video in chunks of so many frames, in the memory of one chunk, with the same result.
    mode="upstream" gives the published code's result for chunks instead, which differs (tokjax.models.upstream_chunks).

    `tile` (height, width) encodes or decodes frames in overlapping tiles of so many pixels, in the memory of one tile, with
    nearly the same result (tokjax.models.tiles).

    What is decoded has the sides that were encoded, or with OmniTokenizer's `config.model.upscale` so many times as long ones.

    Attributes:
      module, variables, config: for people who write their own loop.
      mesh: of the devices that it runs on, or None for one device.
    """

    def __init__(self, module: Any, variables: Mapping[str, Any], config: Any, mesh: Mesh | None = None) -> None:
        self.module, self.variables, self.config, self.mesh = module, variables, config, mesh

        def compiled(function: Callable) -> Callable:
            return jax.jit(function if mesh is None else laid_on(mesh, function))

        self._encode = compiled(lambda v, video, key: module.apply(v, to_float(video), key, method="encode"))
        self._moments = compiled(lambda v, video: module.apply(v, to_float(video), method="moments"))
        self._quantize = compiled(lambda v, moments, key: module.apply(v, moments, key, method=lambda m, *z: m.quantizer(*z)))
        self._decode = compiled(lambda v, latents: module.apply(v, latents, method="decode"))
        self._look_up = compiled(lambda v, indices: module.apply(v, indices, method="indices_to_latents"))

    def on(self, mesh: Mapping[str, int]) -> Tokenizer:
        """This tokenizer on several devices, with the results of one: {"data": 4, "context": 2} splits the batch over 4, and
        the height of each video over 2. An axis left out is 1; -1 takes all devices that remain.

        Raises:
          ValueError: axes that do not exist, or sizes that do not use every device. Batches and heights that do not split are
            refused when they come.
        """
        made = serving_mesh(mesh)
        return Tokenizer(self.module, jax.device_put(self.variables, replicated(made)), self.config, made)

    @property
    def upscale(self) -> int:
        """How many times as long sides are after decoding."""
        return getattr(self.module, "upscale", 1)

    def encode(
        self,
        video: np.ndarray | jax.Array,
        rng: jax.Array | None = None,
        chunk_frames: int | None = None,
        mode: Mode = "exact",
        tile: Tile | None = None,
    ) -> Encoded:
        """Video -> Encoded.

        Args:
          rng: a key draws KL latents around their mean; None takes the mean.

        Raises:
          ValueError: not [b,t,h,w,3], neither uint8 nor float, a value that is not finite, or chunks or tiles that the model
            cannot do.
        """
        check_video(video)
        chunks, tile = self._chunks(chunk_frames, mode), tile_in_latents(self.module, tile)

        def moments(_: int, part: jax.Array) -> jax.Array:
            if chunks is None:
                return self._moments(self.variables, part)
            return chunks.encode_moments(self.module, self.variables, part, chunk_frames)

        padded = self.padded(video, *((0, 0) if mode == "upstream" else self.module.pad_frames(video.shape[1])))
        if chunks is None and tile is None:
            quantized = self._encode(self.variables, padded, rng)
        else:
            quantized = self.quantize(in_tiles(moments, padded, tile, self.module.space_factor), rng)
        return Encoded(quantized.latents, quantized.indices, tuple(video.shape[1:4]), np.dtype(video.dtype))

    def decode(
        self,
        tokens: Encoded | np.ndarray | jax.Array,
        chunk_frames: int | None = None,
        mode: Mode = "exact",
        tile: Tile | None = None,
    ) -> np.ndarray:
        """Encoded -> the video, shape and dtype as encoded; latents or indices alone -> float32 of the model's own size.

        Raises:
          ValueError: latents of another width, indices out of range, indices for a model without codes, or chunks or tiles that
            the model cannot do.
        """
        encoded = isinstance(tokens, Encoded)
        chunks, tile = self._chunks(chunk_frames, mode), tile_in_latents(self.module, tile)

        def pixels(_: int, part: jax.Array) -> jax.Array:
            if chunks is None:
                return self._decode(self.variables, part)
            return chunks.decode(self.module, self.variables, part, chunk_frames)

        video = in_tiles(pixels, self.latents(tokens.latents if encoded else tokens), tile, 1)
        if not encoded:
            return np.asarray(video)
        t, *sides = tokens.shape
        h, w = (side * self.upscale for side in sides)
        start = video.shape[1] - self.module.pad_frames(t)[1] - t  # all that was put in front, whoever did it
        return from_float(video[:, start : start + t, :h, :w], tokens.dtype)

    def reconstruct(
        self,
        video: np.ndarray | jax.Array,
        rng: jax.Array | None = None,
        chunk_frames: int | None = None,
        mode: Mode = "exact",
        tile: Tile | None = None,
    ) -> np.ndarray:
        """decode(encode(video)): same shape and dtype."""
        return self.decode(self.encode(video, rng, chunk_frames, mode, tile), chunk_frames, mode, tile)

    def padded(self, video: np.ndarray | jax.Array, front: int = 0, back: int = 0) -> jax.Array:
        """A video with copies of its first and last frame around it, and sides that the model gives back whole."""
        height, width = video.shape[2:4]
        whole_height, whole_width = self.module.pad_sides(height, width)
        pads = [(0, 0), (front, back), (0, whole_height - height), (0, whole_width - width), (0, 0)]
        return self._laid(jnp.pad(jnp.asarray(video), pads, mode="edge"), self.module.space_factor)

    def quantize(self, moments: jax.Array, rng: jax.Array | None = None) -> Quantized:
        """What the encoder gave -> latents and indices."""
        return self._quantize(self.variables, moments, rng)

    def latents(self, tokens: np.ndarray | jax.Array) -> jax.Array:
        """Latents as they are; indices -> the latents that they stand for.

        Raises:
          ValueError: latents of another width, indices out of range, or indices for a model without codes.
        """
        require_array(tokens, "what is decoded")
        quantizer, width = self.module.quantizer, self.module.latent_channels
        if tokens.ndim == 5 and jnp.issubdtype(tokens.dtype, jnp.floating):
            if tokens.shape[-1] != width:
                raise ValueError(f"these latents have {tokens.shape[-1]} channels, but this model's have {width}")
            return self._laid(jnp.asarray(tokens), 1)
        books = len(getattr(quantizer, "codebooks", (quantizer,)))
        several = (books,) if books > 1 else ()
        if not jnp.issubdtype(tokens.dtype, jnp.integer) or tokens.ndim != 4 + len(several) or tokens.shape[4:] != several:
            raise ValueError(
                f"decode wants float latents [b,t,h,w,{width}] or integer indices [{','.join(['b,t,h,w', *map(str, several)])}], "
                f"not {tokens.dtype} {tuple(tokens.shape)}"
            )
        if quantizer.codebook_size is None:
            raise ValueError("this model has continuous latents and no codes, so it cannot decode indices; give it latents")
        if tokens.size and not 0 <= int(tokens.min()) <= int(tokens.max()) < quantizer.codebook_size:
            raise ValueError(
                f"indices must lie in 0..{quantizer.codebook_size - 1}; these reach from {tokens.min()} to {tokens.max()}"
            )
        return self._laid(self._look_up(self.variables, jnp.asarray(tokens)), 1)

    def _laid(self, x: jax.Array, unit: int) -> jax.Array:
        return x if self.mesh is None else lay(x, self.mesh, unit)

    def _chunks(self, chunk_frames: int | None, mode: str) -> ModuleType | None:
        """The way to encode and decode in chunks that is asked for, or None."""
        if mode not in ("exact", "upstream"):
            raise ValueError(f"mode must be exact or upstream, not {mode!r}")
        if chunk_frames is not None:
            streaming.check_chunks(self.module, chunk_frames)
        if mode == "exact":
            return None if chunk_frames is None else streaming
        if chunk_frames is None:
            raise ValueError(
                "mode='upstream' is a way to cut a video into chunks; give chunk_frames too (the published code's is 16)"
            )
        if getattr(self.module, "causality", None) != "causal_v1_1":
            raise ValueError("mode='upstream' exists for VidTok's causal v1.1 models only; leave it out")
        return upstream_chunks
