"""Optimizers, learning-rate schedules, clipping and the moving average of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax


def make_schedule(config: Mapping[str, Any], steps: int) -> optax.Schedule:
    """Learning rate by step: linear from zero over `warmup_steps`, then constant or a cosine to zero at `steps`."""
    peak, warmup = config["learning_rate"], config["warmup_steps"]
    if config["schedule"] == "cosine":
        main = optax.cosine_decay_schedule(peak, max(1, steps - warmup))
    else:
        main = optax.constant_schedule(peak)
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), main], [warmup]) if warmup else main


def make_optimizer(config: Mapping[str, Any], steps: int) -> optax.GradientTransformation:
    """`config.optimizer` as an optax transformation of gradients."""
    moments = {"b1": config["b1"], "b2": config["b2"], "eps": config["eps"]}
    schedule = make_schedule(config, steps)
    if config["name"] == "adamw":
        update = optax.adamw(schedule, weight_decay=config["weight_decay"], **moments)
    else:
        update = optax.adam(schedule, **moments)
    return optax.chain(optax.clip_by_global_norm(config["clip_norm"]), update) if config["clip_norm"] else update


def update_average(average: Any, params: Any, decay: float, updates: jax.Array) -> Any:
    """Moving average with VidTok's warm-up: decay is at most (1 + k) / (10 + k) at the k-th update, k from 1."""
    k = updates.astype(jnp.float32)
    rate = 1.0 - jnp.minimum(decay, (1.0 + k) / (10.0 + k))
    return jax.tree.map(lambda shadow, new: shadow - rate * (shadow - new), average, params)
