"""Runs a model over the validation streams of a config, on a mesh."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tokjax.data.pipeline import evaluation_batches
from tokjax.data.sources import Source, open_source
from tokjax.evaluation.evaluator import evaluate
from tokjax.evaluation.examples import Examples, Picture
from tokjax.evaluation.judge import Judge
from tokjax.models.values import to_float


def validate_model(
    model: Any,
    variables: Mapping[str, Any],
    streams: Mapping[str, Mapping[str, Any]],
    mesh: Mesh,
    progress: Callable[[int], None] | None = None,
    open_with: Callable[[dict[str, Any]], Source] = open_source,
    examples: bool = False,
    judge: Judge | None = None,
) -> tuple[dict[str, Any], list[Picture]]:
    """Scores of the reconstruction from the mode of the latents, and a few pictures.

    Every process reads every clip and gets every result, so that all hold the same numbers.

    Args:
      variables: the parameters, and the model's other collections where it has any.
      streams: `config.data.validation` as a plain dict.
      open_with: gives the source of a stream.
      examples: the pictures are the best, the worst and a middling clip of each stream, rather than the first ones.
      judge: the metrics; PSNR and SSIM where it is left out.
    """
    axes = mesh.shape["data"] * mesh.shape["fsdp"]
    by_clip = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))

    def reconstruct(video: np.ndarray) -> tuple[jax.Array, jax.Array | None]:
        return _forward(model, mesh, variables, jax.make_array_from_callback(video.shape, by_clip, lambda index: video[index]))

    batches = {name: _padded(evaluation_batches(stream, open_with=open_with), axes) for name, stream in streams.items()}
    judge = judge or Judge()
    start = (lambda _: dataclasses.replace(judge.new_scores(), examples=Examples())) if examples else None
    how = {"codebook_size": model.quantizer.codebook_size, "progress": progress, "judge": judge, "start": start}
    return evaluate(reconstruct, batches, **how)


@partial(jax.jit, static_argnums=(0, 1))  # once for a run: its evaluations find the program compiled
def _forward(model: Any, mesh: Mesh, variables: Any, video: jax.Array) -> tuple[jax.Array, jax.Array | None]:
    reconstruction, quantized = model.apply(variables, to_float(video))
    # What one process sees whole stays where it is, and is scored there.
    place = PartitionSpec(("data", "fsdp")) if jax.process_count() == 1 else PartitionSpec()
    return jax.lax.with_sharding_constraint((reconstruction, quantized.indices), NamedSharding(mesh, place))


def _padded(
    batches: Iterator[tuple[list[str], np.ndarray, np.ndarray]], multiple: int
) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
    """Batches filled up with invalid copies of the last clip until the mesh divides them."""
    for ids, video, valid in batches:
        extra = -len(video) % multiple
        yield (
            ids + ids[-1:] * extra,
            np.concatenate([video, np.repeat(video[-1:], extra, axis=0)]),
            np.concatenate([valid, np.zeros(extra, bool)]),
        )
