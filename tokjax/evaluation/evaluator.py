"""Evaluation by VidTok's protocol: every clip is reconstructed once, every frame scored, the mean taken over all frames.

Frames are scored on the devices in float32, means are taken on the host in float64. A reconstruction may be sharded over the
devices of one process; over several processes it must be replicated.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tokjax.evaluation import pixels
from tokjax.models.values import to_uint8
from tokjax.quantizers import usage

PICTURES_PER_STREAM = 4
PROTOCOL = {
    "values": "reconstruction clamped to -1..1, both mapped to 0..1, not rounded to 8 bits",
    "psnr": "each frame -10 log10(mse + 1e-8), mean over all frames of all clips",
    "ssim": "each frame and colour channel, Gaussian window 11 x 11 of sigma 1.5, valid positions, "
    "pooled first by max(1, round(shorter side / 256)); mean over all frames of all clips",
    "codebook": "where there is one: codes counted over the whole set; usage is the share that occurs, "
    "perplexity exp(-sum p ln(p + 1e-10)); of several codebooks, the means, and all dead codes",
}

Reconstruct = Callable[[Any], tuple[jax.Array, jax.Array | None]]
Batch = tuple[list[str], np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Picture:
    """A clip to look at.

    Attributes:
      name: stream and clip.
      original, reconstruction: uint8 [t,h,w,3].
    """

    name: str
    original: np.ndarray
    reconstruction: np.ndarray


@dataclasses.dataclass
class _Scores:
    """What one stream has gathered: PSNR and SSIM [t] of each clip, the code counts, and the clips kept to look at."""

    psnr: list[np.ndarray] = dataclasses.field(default_factory=list)
    ssim: list[np.ndarray] = dataclasses.field(default_factory=list)
    counts: np.ndarray | int = 0
    pictures: list[Picture] = dataclasses.field(default_factory=list)


def evaluate(
    reconstruct: Reconstruct,
    streams: dict[str, Iterable[Batch]],
    *,
    codebook_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[dict[str, Any], list[Picture]]:
    """Reconstructs and scores all clips of all streams.

    Args:
      reconstruct: uint8 video [b,t,h,w,3] -> (float32 [b,t,h,w,3] in -1..1, unclipped, on one or several devices; codes
        int [b,t',h',w'], [b,t',h',w',n] of n codebooks, or None). The caller jits it.
      streams: by name, batches (clip ids, uint8 video [b,t,h,w,3], bool [b] that is False for rows that only fill the batch).
      codebook_size: number of codes in a codebook; None leaves codes uncounted.
      progress: called after each batch with the number of clips done.

    Returns:
      (results, pictures). results["streams"][name] has clips, frames, psnr in dB, ssim, psnr_per_frame (means over the clips that
      have that frame) and codebook; results["codebook"] counts over all streams (both None without codes);
      results["protocol"] says how. The pictures are the first few clips of each stream.

    Raises:
      ValueError: a stream without clips, a reconstruction of another shape or not finite, missing codes or codes out of range.
    """
    gathered: dict[str, _Scores] = {}
    done = 0
    for name, batches in streams.items():
        scores = gathered[name] = _Scores()
        for ids, video, valid in batches:
            _gather(scores, name, reconstruct, list(ids), video, np.asarray(valid, bool), codebook_size)
            done += int(np.sum(valid))
            if progress is not None:
                progress(done)
        if not scores.psnr:
            raise ValueError(f"stream {name!r} has no clips to evaluate; check its path")
    return _results(gathered, codebook_size), [picture for scores in gathered.values() for picture in scores.pictures]


def _results(gathered: dict[str, _Scores], codebook_size: int | None) -> dict[str, Any]:
    counts = sum(scores.counts for scores in gathered.values())
    return {
        "streams": {name: _summary(scores, codebook_size) for name, scores in gathered.items()},
        "codebook": None if codebook_size is None else _codebook(counts),
        "protocol": dict(PROTOCOL),
    }


def _gather(
    scores: _Scores, name: str, reconstruct: Reconstruct, ids: list[str], video: Any, valid: np.ndarray, codebook_size: int | None
) -> None:
    """Adds one batch."""
    reconstruction, indices = reconstruct(video)
    if reconstruction.shape != video.shape:
        raise ValueError(f"stream {name!r}: videos {tuple(video.shape)} came back as {tuple(reconstruction.shape)}")
    psnr, ssim, finite = map(np.asarray, _score(reconstruction, jax.device_put(video, reconstruction.sharding)))
    rows = np.flatnonzero(valid)
    for row in rows:
        if not finite[row]:
            raise ValueError(f"stream {name!r}: the reconstruction of clip {ids[row]!r} holds values that are not finite")
        scores.psnr.append(psnr[row].astype(np.float64))
        scores.ssim.append(ssim[row].astype(np.float64))
    if codebook_size is not None:
        scores.counts = scores.counts + _counted(indices, valid, codebook_size, name)
    wanted = rows[: PICTURES_PER_STREAM - len(scores.pictures)]
    if len(wanted):
        pixels_out = np.asarray(_to_uint8(reconstruction))
        scores.pictures += [Picture(f"{name} / {ids[row]}", np.asarray(video[row]), pixels_out[row]) for row in wanted]


@jax.jit
def _score(reconstruction: jax.Array, video: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """PSNR [b,t], SSIM [b,t], and whether a clip's reconstruction is finite [b]."""
    finite = jnp.isfinite(reconstruction).all(axis=(1, 2, 3, 4))
    x, y = (jnp.clip(reconstruction, -1.0, 1.0) + 1.0) / 2.0, video.astype(jnp.float32) / 255.0
    return pixels.psnr(x, y), pixels.ssim(x, y), finite


_to_uint8 = jax.jit(to_uint8)
_histogram = jax.jit(usage.histogram, static_argnames="codebook_size")


def _counted(indices: jax.Array | None, valid: np.ndarray, codebook_size: int, name: str) -> np.ndarray:
    """int64 [codebooks, codebook_size]."""
    if indices is None:
        raise ValueError(f"stream {name!r}: a codebook of {codebook_size} was announced, but reconstruct returned no codes")
    books = jnp.moveaxis(indices, -1, 0) if indices.ndim == 5 else [indices]
    counts = np.stack([_histogram(one, codebook_size, valid) for one in books]).astype(np.int64)
    expected = int(valid.sum()) * int(np.prod(indices.shape[1:]))
    if counts.sum() != expected:
        outside = expected - counts.sum()
        raise ValueError(f"stream {name!r}: {outside} codes lie outside 0..{codebook_size - 1}; check codebook_size")
    return counts


def _summary(scores: _Scores, codebook_size: int | None) -> dict[str, Any]:
    by_frame = itertools.zip_longest(*scores.psnr, fillvalue=np.nan)
    return {
        "clips": len(scores.psnr),
        "frames": sum(map(len, scores.psnr)),
        "psnr": float(np.mean(np.concatenate(scores.psnr))),
        "ssim": float(np.mean(np.concatenate(scores.ssim))),
        "psnr_per_frame": [float(np.nanmean(values)) for values in by_frame],
        "codebook": None if codebook_size is None else _codebook(scores.counts),
    }


def _codebook(counts: np.ndarray) -> dict[str, Any]:
    """What the counts [codebooks, size] say; the code of one codebook is not that of another with the same index."""
    measures = {"usage": usage.usage, "perplexity": usage.perplexity, "entropy_bits": usage.entropy_bits}
    return {
        "codebooks": len(counts),
        "size": counts.shape[1],
        "codes_counted": int(counts.sum()),
        **{name: float(np.mean([measure(one) for one in counts])) for name, measure in measures.items()},
        "dead_codes": sum(map(usage.dead_codes, counts)),
    }
