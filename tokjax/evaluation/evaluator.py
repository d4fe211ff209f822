"""Evaluation: every clip is reconstructed once and every frame scored; what only sets have is taken over all clips.

Frames are scored on the devices in float32, means and moments are taken on the host in float64. A reconstruction may be sharded
over the devices of one process; over several processes it must be replicated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tokjax.evaluation.examples import Picture
from tokjax.evaluation.judge import SCORED_WITH, Judge
from tokjax.evaluation.scores import Scores, codebook
from tokjax.models.values import to_uint8
from tokjax.quantizers import usage

__all__ = ["PICTURES_PER_STREAM", "PROTOCOL", "Picture", "evaluate", "evaluate_pairs"]

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
# A batch whose reconstruction and codes are there.
Judged = tuple[list[str], np.ndarray, np.ndarray, jax.Array, jax.Array | None]


def evaluate(
    reconstruct: Reconstruct,
    streams: dict[str, Iterable[Batch]],
    *,
    codebook_size: int | None = None,
    progress: Callable[[int], None] | None = None,
    **how: Any,
) -> tuple[dict[str, Any], list[Picture]]:
    """Reconstructs and scores all clips of all streams.

    Args:
      reconstruct: uint8 video [b,t,h,w,3] -> (float32 [b,t,h,w,3] in -1..1, unclipped, on one or several devices; codes
        int [b,t',h',w'], [b,t',h',w',n] of n codebooks, or None). The caller jits it.
      streams: by name, batches (clip ids, uint8 video [b,t,h,w,3], bool [b] that is False for rows that only fill the batch).
      codebook_size: number of codes in a codebook; None leaves codes uncounted.
      progress: called after each batch with the number of clips done.
      **how: of `evaluate_pairs`.

    Returns:
      (results, pictures). results["streams"][name] has clips, frames, the metrics (psnr in dB, ssim, ...), psnr_per_frame (means
      over the clips that have that frame) and codebook; results["codebook"] counts over all streams (both None without codes);
      results["protocol"] says how. The pictures are the first few clips of each stream.

    Raises:
      ValueError: a stream without clips, a reconstruction of another shape or not finite, missing codes or codes out of range.
    """
    judged = {name: _reconstructed(reconstruct, batches) for name, batches in streams.items()}
    return evaluate_pairs(judged, codebook_size=codebook_size, progress=progress, **how)


def _reconstructed(reconstruct: Reconstruct, batches: Iterable[Batch]) -> Iterator[Judged]:
    for ids, video, valid in batches:
        yield ids, video, valid, *reconstruct(video)


def evaluate_pairs(
    streams: dict[str, Iterable[Judged]],
    *,
    codebook_size: int | None = None,
    progress: Callable[[int], None] | None = None,
    judge: Judge | None = None,
    start: Callable[[str], Scores] | None = None,
    after_batch: Callable[[str, Scores], None] | None = None,
) -> tuple[dict[str, Any], list[Picture]]:
    """The same of clips that somebody has reconstructed: batches with reconstruction and codes at their end.

    Args:
      judge: the metrics; PSNR and SSIM where it is left out.
      start: gives what a stream begins with: `judge.new_scores()`, or what it had gathered before it was interrupted, where its
        batches go on behind that. With `examples` in it, those are the pictures rather than the first clips.
      after_batch: told of a stream's scores after each batch.
    """
    judge, gathered, done = judge or Judge(), {}, 0
    for name, batches in streams.items():
        scores = gathered[name] = start(name) if start else judge.new_scores()
        done += len(scores.ids)
        for batch in batches:
            _gather(scores, name, batch, codebook_size, judge)
            done += int(np.sum(batch[2]))
            if after_batch is not None:
                after_batch(name, scores)
            if progress is not None:
                progress(done)
        if not scores.ids:
            raise ValueError(f"stream {name!r} has no clips to evaluate; check its path")
    kept = (scores.examples.pictures() if scores.examples else scores.pictures for scores in gathered.values())
    return _results(gathered, codebook_size), [picture for pictures in kept for picture in pictures]


def _results(gathered: dict[str, Scores], codebook_size: int | None) -> dict[str, Any]:
    counts = sum(scores.counts for scores in gathered.values())
    return {
        "streams": {name: scores.summary(codebook_size) for name, scores in gathered.items()},
        "codebook": None if codebook_size is None else codebook(counts),
        "protocol": dict(PROTOCOL),
    }


def _gather(scores: Scores, name: str, batch: Judged, codebook_size: int | None, judge: Judge) -> None:
    """Adds one batch."""
    ids, video, valid, reconstruction, indices = batch
    ids, valid = list(ids), np.asarray(valid, bool)
    if reconstruction.shape != video.shape:
        raise ValueError(f"stream {name!r}: videos {tuple(video.shape)} came back as {tuple(reconstruction.shape)}")
    original = jax.device_put(video, reconstruction.sharding)
    values, finite = judge.frames(reconstruction, original)
    rows = np.flatnonzero(valid)
    for row in rows:
        if not finite[row]:
            raise ValueError(f"stream {name!r}: the reconstruction of clip {ids[row]!r} holds values that are not finite")
        scores.add_clip(ids[row], video.shape[1], {metric: values[metric][row] for metric in judge.by_frame})
    if codebook_size is not None:
        scores.counts = scores.counts + _counted(indices, valid, codebook_size, name)
    _add_sets(scores, judge, original, reconstruction, valid)
    _keep_pictures(scores, name, ids, rows, values, (video, reconstruction))


def _add_sets(scores: Scores, judge: Judge, original: jax.Array, reconstruction: jax.Array, valid: np.ndarray) -> None:
    logits = {}
    for metric in judge.of_sets:
        fake, real = scores.sets[metric]
        found, logits[metric] = judge.set_features(metric, reconstruction, False, valid)
        fake.add(found)
        if metric not in judge.known_originals:
            real.add(judge.set_features(metric, original, True, valid)[0])
    if scores.inception_score is not None:
        if SCORED_WITH not in logits:
            logits[SCORED_WITH] = judge.set_features(SCORED_WITH, reconstruction, False, valid)[1]
        scores.inception_score.add(logits[SCORED_WITH])


def _keep_pictures(
    scores: Scores,
    name: str,
    ids: list[str],
    rows: np.ndarray,
    values: dict[str, np.ndarray],
    videos: tuple[np.ndarray, jax.Array],
) -> None:
    """The first clips, or those that are examples."""
    if scores.examples is None:
        wanted = {row: [] for row in rows[: PICTURES_PER_STREAM - len(scores.pictures)]}
    else:
        quality = {row: float(values["psnr"][row].mean()) for row in rows}
        wanted = {row: roles for row in rows if (roles := scores.examples.wants(ids[row], quality[row]))}
    if not wanted:
        return
    video, reconstruction = videos
    shown = np.asarray(reconstruction if reconstruction.dtype == jnp.uint8 else _to_uint8(reconstruction))
    for row, roles in wanted.items():
        picture = Picture(f"{name} / {ids[row]}", np.asarray(video[row]), shown[row])
        if scores.examples is None:
            scores.pictures.append(picture)
        else:
            scores.examples.add(roles, quality[row], picture)


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
