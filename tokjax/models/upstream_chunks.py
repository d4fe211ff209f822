"""The published code's own way to cut long video into chunks, for VidTok v1.1, with its numbers.

Chunks are the first frame alone, then equal numbers of frames. It differs from the exact way (tokjax.models.streaming) where
the length is not 1 more than a multiple of the time factor f, since the last chunk is then padded in front with copies of its
own first frame; and in the decoder, whose interpolation remembers other frames than those before a chunk
(tokjax.models.time_resampling). With overlap, the published scripts' choice, a chunk of latents is decoded together with the
one latent that follows it, whose f frames are thrown away; without overlap every border between chunks shows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tokjax.models.streaming import run_chunk

Variables = Mapping[str, Any]


def encode_moments(module: nn.Module, variables: Variables, video: jax.Array, chunk_frames: int) -> jax.Array:
    """Encoder output for a video, uint8 or float [b,t,h,w,3], chunk by chunk."""
    parts, cache = [], {}
    for start, stop in _spans(video.shape[1], chunk_frames):
        moments, cache = run_chunk(module, variables, cache, video[:, start:stop], "moments")
        parts.append(moments)
    return jnp.concatenate(parts, axis=1)


def decode(module: nn.Module, variables: Variables, latents: jax.Array, chunk_frames: int, overlap: bool = True) -> jax.Array:
    """Latents [b,t',h',w',c] -> video [b,f*t',h,w,3], chunk by chunk; `chunk_frames` // f latents each, after the first."""
    style = dataclasses.replace(module.style, chunks="upstream_overlap" if overlap else "upstream")
    module, factor, total = module.clone(style=style), module.time_factor, latents.shape[1]
    parts, cache = [], {}
    for start, stop in _spans(total, chunk_frames // factor):
        extra = int(overlap and stop < total)
        video, cache = run_chunk(module, variables, cache, latents[:, start : stop + extra], "decode")
        parts.append(video[:, : video.shape[1] - extra * factor])
    return jnp.concatenate(parts, axis=1)


def _spans(total: int, size: int) -> Iterator[tuple[int, int]]:
    yield 0, 1
    for start in range(1, total, size):
        yield start, min(start + size, total)
