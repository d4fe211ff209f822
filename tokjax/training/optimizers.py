"""Optimizers, learning-rate schedules, clipping, what is left out of training, and the moving average of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax


def make_schedule(config: Mapping[str, Any], steps: int, batches: int = 1) -> optax.Schedule:
    """Learning rate by number of updates made: linear from `warmup_from` over `warmup_steps`, then constant or a cosine to
    `learning_rate_min` at `steps`; or OmniTokenizer's.

    Args:
      batches: for each update; `warmup_steps` and `steps` count batches.
    """
    peak, least, begin = config["learning_rate"], config["learning_rate_min"], config["warmup_from"]
    warmup = config["warmup_steps"]
    if config["schedule"] == "omnitokenizer":
        # Published: the scheduler is stepped after the optimizer, so an update uses the rate of the update before it.
        return lambda count: published_cosine(jnp.maximum(count * batches - 1, 0), peak, least, warmup, steps, begin)
    warmup, steps = warmup // batches, steps // batches
    if config["schedule"] == "cosine":
        main = optax.cosine_decay_schedule(peak, max(1, steps - warmup), alpha=least / peak)
    else:
        main = optax.constant_schedule(peak)
    return optax.join_schedules([optax.linear_schedule(begin, peak, warmup), main], [warmup]) if warmup else main


def published_cosine(count: jax.Array | int, peak: float, least: float, warmup: int, steps: int, begin: float = 0.0) -> jax.Array:
    """OmniTokenizer's schedule, timm's one-cycle `CosineLRScheduler`: the warm-up from `begin` does not shift the cosine, which
    runs over all `steps`, so that the rate jumps down where the warm-up ends. `least` from `steps` on.
    """
    count = jnp.asarray(count, jnp.float32)
    cosine = least + 0.5 * (peak - least) * (1.0 + jnp.cos(jnp.pi * count / steps))
    after = jnp.where(count < steps, cosine, least)
    return jnp.where(count < warmup, begin + count * ((peak - begin) / max(1, warmup)), after)


def make_optimizer(config: Mapping[str, Any], steps: int, batches: int = 1) -> optax.GradientTransformation:
    """`config.optimizer` as an optax transformation of the gradients of what trains.

    Args:
      batches: how many calls in a row give one update, of the mean of their gradients; the others leave parameters as they are.
    """
    moments = {"b1": config["b1"], "b2": config["b2"], "eps": config["eps"]}
    schedule = make_schedule(config, steps, batches)
    if config["name"] == "adamw":
        decayed = _kernels if config["weight_decay_of"] == "kernels" else None
        update = optax.adamw(schedule, weight_decay=config["weight_decay"], mask=decayed, **moments)
    else:
        update = optax.adam(schedule, **moments)
    if config["clip_norm"]:
        update = optax.chain(optax.clip_by_global_norm(config["clip_norm"]), update)
    return optax.MultiSteps(update, batches).gradient_transformation() if batches > 1 else update


def _kernels(params: Any) -> Any:
    """The tree with True for the matrices of linear layers and convolutions, and False for gains, biases and tables."""
    return jax.tree_util.tree_map_with_path(lambda path, _: getattr(path[-1], "key", "") == "kernel", params)


def restart_schedule(state: optax.OptState) -> optax.OptState:
    """The optimizer's state with its moments, and the schedule at its begin."""

    def is_schedule(node: Any) -> bool:
        return isinstance(node, optax.ScaleByScheduleState)

    def restarted(node: Any) -> Any:
        return node._replace(count=jnp.zeros_like(node.count)) if is_schedule(node) else node

    return jax.tree.map(restarted, state, is_leaf=is_schedule)


def split(params: Any, frozen: Any) -> tuple[Any, Any]:
    """(what trains, what is frozen), each with None in place of the other's arrays, which jax takes for absent.

    Args:
      frozen: as of `tokjax.training.paths.matching`.
    """
    trained = jax.tree.map(lambda held, leaf: None if held else leaf, frozen, params)
    return trained, jax.tree.map(lambda held, leaf: leaf if held else None, frozen, params)


def merge(trained: Any, held: Any, frozen: Any) -> Any:
    """What `split` has split."""
    return jax.tree.map(lambda is_held, one, other: other if is_held else one, frozen, trained, held)


def update_average(average: Any, params: Any, decay: float, updates: jax.Array) -> Any:
    """Moving average with VidTok's warm-up: decay is at most (1 + k) / (10 + k) at the k-th update, k from 1."""
    k = updates.astype(jnp.float32)
    rate = 1.0 - jnp.minimum(decay, (1.0 + k) / (10.0 + k))
    return jax.tree.map(lambda shadow, new: shadow - rate * (shadow - new), average, params)
