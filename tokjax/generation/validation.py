"""How well a model of tokens explains held-out ones, with the same noise every time."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tokjax.data.clips import read_clip
from tokjax.data.records import BadRecord, DataError
from tokjax.data.sources import Source
from tokjax.generation.families import Generator
from tokjax.generation.language_model import LanguageModel
from tokjax.generation.live_tokens import check_labels, tokens_from
from tokjax.models.mesh import laid_on
from tokjax.quantizers.usage import entropy_bits


def validate_generator(
    model: Generator,
    variables: Mapping[str, Any],
    tokenizer: Any,
    tokenizer_variables: Any,
    streams: Mapping[str, Mapping[str, Any]],
    mesh: Mesh,
    open_with: Callable[[dict[str, Any]], Source],
) -> dict[str, dict[str, float]]:
    """By stream, the mean of each term of the loss over whole batches; a rest of fewer samples is left out. And of codes
    `unigram_entropy`, the loss in nats of a guess that knows only how frequent each code is there.

    Args:
      tokenizer: the module that makes the tokens of clips, or None.

    Raises:
      DataError: a stream without a record that can be used, or with a class that the model has not.
    """
    scores = {}
    for name, stream in streams.items():
        terms, counts = [], 0
        for number, (samples, labels) in enumerate(_batches(open_with(dict(stream)), stream, mesh, model.classes)):
            key = jax.random.fold_in(jax.random.key(0), number)
            found, used = _judged(model, tokenizer, mesh, variables, tokenizer_variables, samples, labels, key)
            terms.append({name: float(value) for name, value in found.items()})
            counts += np.asarray(used, np.int64)
        if not terms:
            raise DataError(f"no record of {stream['path']} can be used, so that nothing could be judged on it")
        scores[name] = {key: float(np.mean([one[key] for one in terms])) for key in terms[0]}
        if isinstance(model, LanguageModel):
            scores[name]["unigram_entropy"] = math.log(2) * entropy_bits(counts)
    return scores


def _batches(source: Source, stream: Mapping[str, Any], mesh: Mesh, classes: int) -> Iterator[tuple[jax.Array, jax.Array]]:
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    size = -(-min(stream["batch"], len(source)) // parts) * parts
    whole = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))

    def laid(rows: list[tuple[int, np.ndarray]]) -> tuple[jax.Array, jax.Array]:
        chosen = np.resize(np.arange(len(rows)), size)  # fewer than devices are repeated
        labels, samples = (np.stack([rows[row][part] for row in chosen]) for part in (0, 1))
        check_labels(classes, labels)
        return tuple(jax.make_array_from_callback(one.shape, whole, one.__getitem__) for one in (samples, labels))

    rows, given = [], False
    for index in range(len(source)):
        try:
            record, clip = read_clip(source, index, stream)
        except BadRecord as error:
            logging.warning("%s: %s is left out: %s", stream["path"], error.id, error)
            continue
        rows.append((np.int32(-1 if record.label is None else record.label), clip))
        if len(rows) == size:
            yield laid(rows)
            rows, given = [], True
    if rows and not given:
        yield laid(rows)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _judged(
    model: Generator,
    tokenizer: Any,
    mesh: Mesh,
    variables: Any,
    its_variables: Any,
    samples: jax.Array,
    labels: jax.Array,
    key: jax.Array,
) -> tuple[dict[str, jax.Array], jax.Array]:
    """Terms of the loss, and how often each code is there; whole on every device, so that every process can read them."""
    tokens = samples if tokenizer is None else laid_on(mesh, tokens_from)(tokenizer, its_variables, samples, key)
    judge = laid_on(mesh, partial(model.apply, method="losses"))
    _, terms = judge(variables, {"tokens": tokens, "label": labels}, key, train=False)
    used = jnp.bincount(tokens.ravel(), length=model.codes) if isinstance(model, LanguageModel) else jnp.zeros(0, jnp.int32)
    return jax.lax.with_sharding_constraint((terms, used), NamedSharding(mesh, PartitionSpec()))
