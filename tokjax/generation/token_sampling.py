"""Drawing codes one after the other from a language model that remembers keys and values, under `jit`."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from tokjax.generation.filters import Drawing, to_draw_from
from tokjax.generation.language_model import LanguageModel


def sample_codes(
    model: LanguageModel,
    variables: Any,
    labels: jax.Array,
    keys: jax.Array,
    how: Drawing,
    given: jax.Array | None = None,
    with_start: bool = True,
) -> jax.Array:
    """Codes int32 [b,t*h*w], each sample a function of its own label and key.

    Args:
      labels: int [b]; -1 for no condition.
      keys: [b], of each sample.
      given: codes int [b,n] that the samples begin with, or None.
      with_start: put the prefix before what is given; published prediction of frames goes without.

    Raises:
      ValueError: more codes given than a sample has, or guidance of a model without classes.
    """
    count = 0 if given is None else given.shape[1]
    if count >= model.tokens:
        raise ValueError(f"{count} codes are given, but a sample has {model.tokens}; give fewer first frames")
    if how.guidance and not model.classes:
        raise ValueError("guidance needs a model of classes; this one has none")
    if how.guidance and model.mode == "published" and not model.start_token:
        raise ValueError("guidance compares with the start token alone, but this published model has none")
    first = [model.prefix(labels)] if with_start else []
    ids = jnp.concatenate([*first, *([] if given is None else [given + model.first_code])], axis=1).astype(jnp.int32)
    visible = jnp.ones((len(ids), model.slots), bool)
    if how.guidance:
        ids, visible = _both_branches(model, ids, visible)
    new = continued(model, variables, ids, visible, keys, how, model.tokens - count) - model.first_code
    new = jnp.clip(new, 0, model.codes - 1)  # as published: other ids than of codes can be drawn there
    return new if given is None else jnp.concatenate([given, new], axis=1)


def _both_branches(model: LanguageModel, ids: jax.Array, visible: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The rows again without their condition. As published that is a start token alone, and later codes keep their places."""
    if model.mode == "sound":
        without = ids.at[:, :1].set(model.prefix(jnp.full(len(ids), -1)))
        return jnp.concatenate([ids, without]), jnp.concatenate([visible, visible])
    without, hidden = ids.at[:, :2].set(0), visible.at[:, 1].set(False)
    return jnp.concatenate([ids, without]), jnp.concatenate([visible, hidden])


@partial(jax.jit, static_argnums=(0, 5, 6))
def continued(
    model: LanguageModel, variables: Any, ids: jax.Array, visible: jax.Array, keys: jax.Array, how: Drawing, count: int
) -> jax.Array:
    """The next `count` ids [b,count] after ids [r,n], where r is b, or with guidance 2b: conditional rows, then the others."""

    def extend(ids: jax.Array, start: jax.Array | int, memory: Any, number: jax.Array | int) -> tuple[jax.Array, Any]:
        pick = partial(_picked, how, keys, number)
        return model.apply(variables, ids, start, memory, visible, pick, method="further")

    def one(carry: tuple[jax.Array, Any], number: jax.Array) -> tuple[tuple[jax.Array, Any], jax.Array]:
        before, memory = carry
        fed = jnp.tile(before, len(ids) // len(before))[:, None]
        new, memory = extend(fed, ids.shape[1] + number - 1, memory, number)
        return (new, memory), new

    first, memory = extend(ids, 0, model.empty_memory(len(ids)), 0)
    _, rest = jax.lax.scan(one, (first, memory), jnp.arange(1, count))
    return jnp.concatenate([first[None], rest]).T


def _picked(how: Drawing, keys: jax.Array, number: jax.Array | int, logits: jax.Array, digit: int) -> jax.Array:
    """What is drawn of logits for a digit of the token of this number, int32 [b]."""
    logits = to_draw_from(logits, how, number)
    if how.greedy:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    own = jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, number), digit))(keys)
    return jax.vmap(jax.random.categorical)(own, logits).astype(jnp.int32)
