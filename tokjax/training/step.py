"""The training step: one pure function of (state, video), jitted once per clip shape.

A step whose loss or gradient norm is not finite leaves parameters, the model's state, optimizer and average as they were and is
counted in `state.nonfinite`; the loop decides what to do about it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from einops import rearrange

from tokjax.evaluation.pixels import psnr
from tokjax.losses.reconstruction import reconstruction_loss
from tokjax.models.values import to_float
from tokjax.quantizers.usage import batch_statistics
from tokjax.training.optimizers import merge, split, update_average
from tokjax.training.paths import matching
from tokjax.training.state import TrainState

if TYPE_CHECKING:
    from ml_collections import ConfigDict

Metrics = dict[str, jax.Array]


class Outcome(NamedTuple):
    """What a forward pass gives beside the loss.

    Attributes:
      metrics: the loss and its terms.
      model_state: the model's collections after it.
      indices: codes [b,t,h,w] or [b,t,h,w,n]; None where the model has none.
    """

    metrics: Metrics
    model_state: dict[str, Any]
    indices: jax.Array | None


def make_loss(model: Any, config: ConfigDict) -> Callable[..., tuple[jax.Array, Outcome]]:
    """loss(params, model_state, video, key, step) -> (scalar, Outcome)."""

    def loss(
        params: Any, model_state: dict[str, Any], video: jax.Array, key: jax.Array, step: jax.Array
    ) -> tuple[jax.Array, Outcome]:
        video, variables = to_float(video), {"params": params, **model_state}
        (reconstruction, quantized), changed = model.apply(
            variables, video, rng=key, train=True, step=step, mutable=list(model_state)
        )
        distance = reconstruction_loss(video, reconstruction, config.loss.reconstruction)
        regularization = quantized.losses["regularization"]
        total = config.loss.reconstruction_weight * distance + config.loss.regularization_weight * regularization
        quality = jnp.mean(psnr((video + 1) / 2, (jnp.clip(reconstruction, -1, 1) + 1) / 2))
        metrics = {"loss": total, "psnr": quality, "reconstruction": distance, **quantized.losses}
        return total, Outcome(metrics, {**model_state, **changed}, quantized.indices)

    return loss


def _mean_gradients(
    loss: Callable, params: Any, model_state: dict[str, Any], video: jax.Array, key: jax.Array, step: jax.Array, parts: int
) -> tuple[Any, Outcome]:
    """Gradients and outcome of the batch, its clips taken in `parts` turns so that only one part's activations live at a time.

    Each turn starts from the model's state that the turn before it left.
    """
    gradient = jax.grad(loss, has_aux=True)
    if parts == 1:
        return gradient(params, model_state, video, key, step)
    # Strided parts: each device keeps its own clips, whatever the mesh.
    turns = rearrange(video, "(b n) t h w c -> n b t h w c", n=parts)
    keys = jax.random.split(key, parts)
    shapes, outcome = jax.eval_shape(gradient, params, model_state, turns[0], key, step)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (shapes, outcome.metrics))

    def turn(carried: tuple[Any, Any], inputs: tuple[jax.Array, jax.Array]) -> tuple[tuple[Any, Any], jax.Array | None]:
        total, before = carried
        gradients, outcome = gradient(params, before, *inputs, step)
        return (jax.tree.map(jnp.add, total, (gradients, outcome.metrics)), outcome.model_state), outcome.indices

    (total, model_state), indices = jax.lax.scan(turn, (zeros, model_state), (turns, keys))
    gradients, metrics = jax.tree.map(lambda leaf: leaf / parts, total)
    return gradients, Outcome(metrics, model_state, None if indices is None else rearrange(indices, "n b ... -> (b n) ..."))


def make_train_step(
    model: Any, optimizer: optax.GradientTransformation, config: ConfigDict
) -> Callable[[TrainState, jax.Array], tuple[TrainState, Metrics]]:
    """step(state, video) -> (state, metrics); video is uint8 or float [b,t,h,w,3]. To be jitted by the caller, state donated."""
    loss, parts, codes = make_loss(model, config), config.training.accumulation, model.quantizer.codebook_size

    def train_step(state: TrainState, video: jax.Array) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        frozen, frozen_state = (matching(tree, config.optimizer.freeze) for tree in (state.params, state.model_state))
        trained, held = split(state.params, frozen)

        def loss_of_trained(trained: Any, *rest: Any) -> tuple[jax.Array, Outcome]:
            return loss(merge(trained, held, frozen), *rest)

        gradients, outcome = _mean_gradients(loss_of_trained, trained, state.model_state, video, key, state.step, parts)
        norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(outcome.metrics["loss"]) & jnp.isfinite(norm)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, trained)
        params = merge(optax.apply_updates(trained, updates), held, frozen)
        average = state.ema
        if average is not None:
            average = update_average(average, params, config.optimizer.ema_decay, state.step + 1)
        model_state = merge(outcome.model_state, state.model_state, frozen_state)
        new = state.replace(params=params, model_state=model_state, optimizer=optimizer_state, ema=average)
        new = jax.tree.map(lambda after, before: jnp.where(finite, after, before), new, state)
        nonfinite = jnp.where(finite, 0, state.nonfinite + 1)
        metrics = outcome.metrics | {"gradient_norm": norm, "nonfinite": nonfinite}
        if codes is not None:
            metrics |= batch_statistics(outcome.indices, codes)
        return new.replace(step=state.step + 1, nonfinite=nonfinite), metrics

    return train_step
