"""The forward pass that a step makes of the tokenizer, and the gradients of its last layer alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from tokjax.evaluation.pixels import psnr
from tokjax.losses.objective import chosen
from tokjax.models.values import to_float
from tokjax.quantizers import Quantized
from tokjax.training.players import Rules, Turn


class Forward(NamedTuple):
    """Attributes:
    video, reconstruction: float32 [b,t,h,w,3] in -1..1.
    quantized: latents, codes and the quantizer's losses.
    frame: number of the frame that losses of images see of each clip, int [b]; None shows them all.
    model_state: the model's collections after it.
    last_layer: cotangent of the reconstruction -> gradient of the last layer's kernels, [n]; None unless it is asked for.
    """

    video: jax.Array
    reconstruction: jax.Array
    quantized: Quantized
    frame: jax.Array | None
    model_state: dict[str, Any]
    last_layer: Callable[[jax.Array], jax.Array] | None

    def shown(self, video: jax.Array) -> jax.Array | None:
        """The frames of clips that a discriminator of images sees, [b,1,h,w,3]; None stands for all."""
        return None if self.frame is None else chosen(video, self.frame)

    @property
    def quality(self) -> jax.Array:
        """PSNR, the mean over frames."""
        return jnp.mean(psnr((self.video + 1) / 2, (jnp.clip(self.reconstruction, -1, 1) + 1) / 2))


def run(rules: Rules, turn: Turn, params: Any, model_state: dict[str, Any]) -> Forward:
    """Encodes and decodes the clips of a turn, as in training."""
    loss, video = rules.config.loss, to_float(turn.video)
    with _watched(rules.model.last_layer if loss.adaptive else None) as seen:
        (reconstruction, quantized), changed = rules.model.apply(
            {"params": params, **model_state}, video, rng=turn.key, train=True, step=turn.step, mutable=list(model_state)
        )
    frame, (clips, length) = None, video.shape[:2]
    if loss.frames == "one" and length > 1:
        frame = jax.random.randint(jax.random.fold_in(turn.key, 1), (clips,), 0, length)
    last_layer = partial(_pulled_back, *seen, length) if seen else None
    return Forward(video, reconstruction, quantized, frame, {**model_state, **changed}, last_layer)


@contextmanager
def _watched(path: tuple[str, ...] | None) -> Iterator[list[Any]]:
    """Gives [module, its variables, its arguments] of the layer at a path, once the model has run; an empty list for no path."""
    seen: list[Any] = []
    if path is None:
        yield seen
        return

    def watch(call: Callable, args: Any, options: Any, context: Any) -> Any:
        if context.module.path == path and context.method_name == "__call__":
            seen.extend([*context.module.unbind(), args])
        return call(*args, **options)

    with nn.intercept_methods(watch):
        yield seen


def _pulled_back(module: nn.Module, variables: Any, args: Any, frames: int, cotangent: jax.Array) -> jax.Array:
    """What a cotangent of the reconstruction, the last frames of what the layer gives, asks of its kernels.

    As published, biases take no part.
    """
    variables, args = jax.lax.stop_gradient((variables, args))

    def reconstruct(params: Any) -> jax.Array:
        return module.apply({**variables, "params": params}, *args)[:, -frames:].astype(cotangent.dtype)

    _, back = jax.vjp(reconstruct, variables["params"])
    (gradients,) = back(cotangent)
    leaves = jax.tree_util.tree_leaves_with_path(gradients)
    return jnp.concatenate([jnp.ravel(leaf) for path, leaf in leaves if path[-1].key == "kernel"])
