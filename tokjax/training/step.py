"""The training step: one pure function of (state, video), jitted once per clip shape.

A step whose loss or gradient norm is not finite leaves parameters, optimizer and average as they were and is counted in
`state.nonfinite`; the loop decides what to do about it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax
from einops import rearrange

from tokjax.evaluation.pixels import psnr
from tokjax.losses.reconstruction import reconstruction_loss
from tokjax.models.values import to_float
from tokjax.training.optimizers import update_average
from tokjax.training.state import TrainState

if TYPE_CHECKING:
    from ml_collections import ConfigDict

Metrics = dict[str, jax.Array]


def make_loss(model: Any, config: ConfigDict) -> Callable[..., tuple[jax.Array, Metrics]]:
    """loss(params, video, key, step) -> (scalar, its terms)."""

    def loss(params: Any, video: jax.Array, key: jax.Array, step: jax.Array) -> tuple[jax.Array, Metrics]:
        video = to_float(video)
        reconstruction, quantized = model.apply({"params": params}, video, rng=key, train=True, step=step)
        distance = reconstruction_loss(video, reconstruction, config.loss.reconstruction)
        regularization = quantized.losses["regularization"]
        total = config.loss.reconstruction_weight * distance + config.loss.regularization_weight * regularization
        quality = jnp.mean(psnr((video + 1) / 2, (jnp.clip(reconstruction, -1, 1) + 1) / 2))
        return total, {"loss": total, "psnr": quality, "reconstruction": distance, **quantized.losses}

    return loss


def _mean_gradients(
    loss: Callable, params: Any, video: jax.Array, key: jax.Array, step: jax.Array, parts: int
) -> tuple[Any, Metrics]:
    """Gradients and metrics of the batch, its clips taken in `parts` turns so that only one part's activations live at a time."""
    gradient = jax.grad(loss, has_aux=True)
    if parts == 1:
        return gradient(params, video, key, step)
    # Strided parts: each device keeps its own clips, whatever the mesh.
    turns = rearrange(video, "(b n) t h w c -> n b t h w c", n=parts)
    keys = jax.random.split(key, parts)
    shapes = jax.eval_shape(gradient, params, turns[0], key, step)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def turn(total: Any, inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, gradient(params, *inputs, step)), None

    total, _ = jax.lax.scan(turn, zeros, (turns, keys))
    return jax.tree.map(lambda leaf: leaf / parts, total)


def make_train_step(
    model: Any, optimizer: optax.GradientTransformation, config: ConfigDict
) -> Callable[[TrainState, jax.Array], tuple[TrainState, Metrics]]:
    """step(state, video) -> (state, metrics); video is uint8 or float [b,t,h,w,3]. To be jitted by the caller, state donated."""
    loss = make_loss(model, config)

    def train_step(state: TrainState, video: jax.Array) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        gradients, metrics = _mean_gradients(loss, state.params, video, key, state.step, config.training.accumulation)
        norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(norm)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        average = state.ema
        if average is not None:
            average = update_average(average, params, config.optimizer.ema_decay, state.step + 1)
        new = state.replace(params=params, optimizer=optimizer_state, ema=average)
        new = jax.tree.map(lambda after, before: jnp.where(finite, after, before), new, state)
        nonfinite = jnp.where(finite, 0, state.nonfinite + 1)
        metrics |= {"gradient_norm": norm, "nonfinite": nonfinite}
        return new.replace(step=state.step + 1, nonfinite=nonfinite), metrics

    return train_step
