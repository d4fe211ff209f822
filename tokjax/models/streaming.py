"""Long video, chunk by chunk, with the result of the whole video in one piece.

`encode_moments` and `decode` take an array: first chunk, one `lax.scan` over equal middle chunks whose carry is what the layers
remember (tokjax.models.memory), last chunk. Memory for activations is that of a chunk. `ChunkEncoder` and `ChunkDecoder` take a
video as it comes, for files of any length.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from tokjax.models.memory import CACHE
from tokjax.models.tiles import Tile, in_tiles, tile_in_latents
from tokjax.models.values import check_video, from_float, to_float
from tokjax.quantizers import Quantized

if TYPE_CHECKING:
    from tokjax.models.tokenizer import Tokenizer

Variables = Mapping[str, Any]


@partial(jax.jit, static_argnames=("module", "method", "last"))
def run_chunk(
    module: nn.Module, variables: Variables, cache: Variables, x: jax.Array, method: str, last: bool = False
) -> tuple[jax.Array, Variables]:
    """One chunk of "moments" (x is video) or "decode" (x is latents), and the cache for the next, empty after the last.

    Args:
      cache: of the chunk before; empty for the first.
      last: no chunk follows, so that frames which wait for a neighbour come out.
    """
    x = to_float(x)
    if last:
        return module.apply({**variables, **cache}, x, method=method), {}
    return module.apply({**variables, **cache}, x, method=method, mutable=[CACHE])


@partial(jax.jit, static_argnames=("module", "chunk_frames"))
def encode_moments(module: nn.Module, variables: Variables, video: jax.Array, chunk_frames: int) -> jax.Array:
    """`module.moments` of a video, uint8 or float [b,t,h,w,3], chunk by chunk.

    Args:
      chunk_frames: a multiple of the time factor.
    """
    copies = module.front_copies(video.shape[1])
    start = chunk_frames - copies
    first = jnp.concatenate([jnp.repeat(video[:, :1], copies, axis=1), video[:, :start]], axis=1)
    return _in_chunks(module, variables, "moments", first, video[:, start:], chunk_frames)


@partial(jax.jit, static_argnames=("module", "chunk_frames"))
def decode(module: nn.Module, variables: Variables, latents: jax.Array, chunk_frames: int) -> jax.Array:
    """`module.decode` of latents [b,t',h',w',c], chunk by chunk.

    Args:
      chunk_frames: frames of video that a chunk of latents stands for, a multiple of the time factor.
    """
    size = chunk_frames // module.time_factor
    return _in_chunks(module, variables, "decode", latents[:, :size], latents[:, size:], size)


def _in_chunks(module: nn.Module, variables: Variables, method: str, first: jax.Array, rest: jax.Array, size: int) -> jax.Array:
    if not rest.shape[1]:
        return run_chunk(module, variables, {}, first, method, last=True)[0]
    y, cache = run_chunk(module, variables, {}, first, method)
    parts, middle = [y], (rest.shape[1] - 1) // size
    if middle:

        def chunk(cache: Variables, number: jax.Array) -> tuple[Variables, jax.Array]:
            x = jax.lax.dynamic_slice_in_dim(rest, number * size, size, axis=1)
            y, cache = run_chunk(module, variables, cache, x, method)
            return cache, y

        cache, ys = jax.lax.scan(chunk, cache, jnp.arange(middle))
        parts.append(rearrange(ys, "n b t h w c -> b (n t) h w c"))
    parts.append(run_chunk(module, variables, cache, rest[:, middle * size :], method, last=True)[0])
    return jnp.concatenate(parts, axis=1)


def check_chunks(module: nn.Module, chunk_frames: int) -> None:
    """Refuses chunks that cannot give what the whole video gives.

    Raises:
      ValueError
    """
    _check_streamable(module)
    factor = module.time_factor
    if chunk_frames < 1 or chunk_frames % factor:
        below = max(factor, chunk_frames // factor * factor)
        raise ValueError(
            f"chunk_frames is {chunk_frames}, but must be a positive multiple of the {factor} frames that a latent covers; the "
            f"nearest are {below} and {below + factor}"
        )


def _check_streamable(module: nn.Module) -> None:
    if not module.streamable:
        raise ValueError(
            "this model sees a whole clip at once, so chunks would not give what the clip gives; encode and decode without "
            "chunk_frames, or with one of VidTok's causal models"
        )


class ChunkEncoder:
    """A video as it comes -> its latents as soon as they are known. Together they are those of `Tokenizer.encode`.

    Compiled once for each number of frames that are encoded together, so give equal numbers of frames, best multiples of the
    time factor.
    """

    def __init__(self, tokenizer: Tokenizer, frames: int | None = None, tile: Tile | None = None) -> None:
        """Without `frames`, the length of the video, the last frame is repeated to 1 more than a multiple of the time factor.

        That is the rule of causal models anyway; causal v1.1 models have another one for known lengths.

        Args:
          tile: (height, width) of the tiles of a frame, as in `Tokenizer.encode`; each tile remembers its own past.

        Raises:
          ValueError: a model that cannot encode in chunks, or in such tiles.
        """
        _check_streamable(tokenizer.module)
        module, length = tokenizer.module, frames or 1
        front, back = module.pad_frames(length)
        self._copies = front + module.front_copies(front + length + back)  # of the first frame, before it
        self._tokenizer, self._frames, self._seen = tokenizer, frames, 0
        self._waiting: jax.Array | None = None
        self._tile, self._caches = tile_in_latents(module, tile), {}

    def push(self, frames: np.ndarray | jax.Array) -> Quantized | None:
        """The next frames, uint8 or float [b,t,h,w,3] -> the latents that they complete, or None.

        Raises:
          ValueError: no such frames.
        """
        check_video(frames)
        self._seen += frames.shape[1]
        x = self._tokenizer.padded(frames, self._copies if self._waiting is None else 0)
        return self._encode(x if self._waiting is None else jnp.concatenate([self._waiting, x], axis=1))

    def finish(self) -> Quantized | None:
        """The latents that the end of the video completes, or None.

        Raises:
          ValueError: another number of frames came than was announced.
        """
        if self._frames not in (None, self._seen):
            raise ValueError(f"{self._frames} frames were announced, but {self._seen} came")
        if self._waiting is None or not self._waiting.shape[1]:
            return None
        lacking = -self._waiting.shape[1] % self._tokenizer.module.time_factor
        return self._encode(self._tokenizer.padded(self._waiting, 0, lacking))

    def _encode(self, x: jax.Array) -> Quantized | None:
        factor = self._tokenizer.module.time_factor
        whole = x.shape[1] // factor * factor
        self._waiting = x[:, whole:]
        if not whole:
            return None
        return self._tokenizer.quantize(_run_tiles(self._tokenizer, self._caches, x[:, :whole], "moments", self._tile))


class ChunkDecoder:
    """Latents or indices as they come -> frames as soon as they are known. Together they are those of `Tokenizer.decode`.

    Compiled once for each number of latents that are decoded together.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        shape: tuple[int, int, int] | None = None,
        dtype: np.dtype | type = np.float32,
        tile: Tile | None = None,
        front: int | None = None,
    ) -> None:
        """Args:
          shape: (t, h, w) of the video to give back; None gives back what an encoder without known length was given, the repeated
            frames at its end and sides included.
          dtype: uint8 gives 0..255, a float -1..1, unclipped.
          tile: (height, width) of the tiles of a frame, as in `Tokenizer.decode`.
          front: how many copies of the first frame `pad_frames` put in front, where that does not follow from the shape.

        Raises:
          ValueError: a model that cannot decode in chunks, or in such tiles.
        """
        _check_streamable(tokenizer.module)
        self._tokenizer, self._shape, self._dtype = tokenizer, shape, np.dtype(dtype)
        self._skip = tokenizer.module.pad_frames(shape[0] if shape else 1)[0] if front is None else front
        self._left = shape[0] if shape else None
        self._waiting: jax.Array | None = None
        self._tile, self._caches = tile_in_latents(tokenizer.module, tile), {}

    def push(self, tokens: np.ndarray | jax.Array) -> np.ndarray | None:
        """The next latents [b,t',h',w',c] or indices [b,t',h',w'] -> the frames [b,t,h,w,3] known by now, or None.

        The last latent waits, since only the one after it, or the end, tells its last frames.

        Raises:
          ValueError: latents or indices that are not this model's.
        """
        x = self._tokenizer.latents(tokens)
        x = x if self._waiting is None else jnp.concatenate([self._waiting, x], axis=1)
        self._waiting = x[:, -1:]
        return self._decode(x[:, :-1]) if x.shape[1] > 1 else None

    def finish(self) -> np.ndarray | None:
        """The frames that are left, or None."""
        return None if self._waiting is None else self._decode(self._waiting, last=True)

    def _decode(self, latents: jax.Array, last: bool = False) -> np.ndarray | None:
        video = _run_tiles(self._tokenizer, self._caches, latents, "decode", self._tile, last)
        skipped = min(self._skip, video.shape[1])
        self._skip -= skipped
        video = video[:, skipped:]
        if self._shape:
            _, height, width = self._shape
            video = video[:, : self._left, :height, :width]
            self._left -= video.shape[1]
        return from_float(video, self._dtype) if video.shape[1] else None


def _run_tiles(
    tokenizer: Tokenizer, caches: dict[int, Variables], x: jax.Array, method: str, tile: Tile | None, last: bool = False
) -> Any:
    """`run_chunk` on every tile of x, each with the cache of its number, which is renewed."""

    def run(number: int, part: jax.Array) -> jax.Array:
        y, caches[number] = run_chunk(tokenizer.module, tokenizer.variables, caches.get(number, {}), part, method, last)
        return y

    return in_tiles(run, x, tile, tokenizer.module.space_factor if method == "moments" else 1)
