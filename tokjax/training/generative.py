"""What is special about a step that teaches a model of tokens: its batch, and its loss, which is its own."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tokjax.generation.live_tokens import tokens_from
from tokjax.training.players import Carried, Outcome, Rules, Turn


def token_loss(rules: Rules, turn: Turn, carried: Carried, params: Any) -> tuple[jax.Array, Outcome]:
    """The model's loss on a turn whose `video` is {"tokens": ..., "label": int [b]}.

    Where a tokenizer works along, `tokens` are clips, and its variables are the turn's `perceptual`.
    """
    batch = turn.video
    for_tokens, for_loss = jax.random.split(turn.key)
    if rules.tokenizer is not None:
        batch = batch | {"tokens": tokens_from(rules.tokenizer, turn.perceptual, batch["tokens"], for_tokens)}
    loss, metrics = rules.model.apply({"params": params, **carried.model}, batch, for_loss, method="losses")
    return loss, Outcome(metrics, carried, None)


def global_tokens(mesh: Mesh, tokens: np.ndarray, labels: np.ndarray) -> dict[str, jax.Array]:
    """The batch of this process, laid on the mesh with those of all others: samples over data and fsdp.

    Raises:
      ValueError: the mesh does not divide the batch.
    """
    count, parts = len(tokens) * jax.process_count(), mesh.shape["data"] * mesh.shape["fsdp"]
    if count % parts:
        raise ValueError(f"a batch of {count} samples does not split over {parts} devices (data × fsdp); take a multiple")
    place = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))

    def laid(array: np.ndarray) -> jax.Array:
        return jax.make_array_from_process_local_data(place, array, (count, *array.shape[1:]))

    return {"tokens": laid(tokens), "label": laid(np.asarray(labels, np.int32))}
