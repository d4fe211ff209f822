"""What training a config would take, from shapes alone."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from tokjax.models.convolution import CONVOLUTION_FORM
from tokjax.models.cost import activation_bytes, count_bytes, count_flops
from tokjax.models.tokenizer import build
from tokjax.training.optimizers import make_optimizer
from tokjax.training.state import TrainState, state_of


def inspect(config: ConfigDict, batch: int, frames: int, side: int) -> dict[str, str]:
    """Rows of text: parameters, latent shape, compression, FLOPs of the forward pass for one clip, memory of training on `batch`.

    Convolutions are counted in their direct form, whatever this machine would use.
    """
    model, training = build(config.model), config.training
    optimizer = make_optimizer(config.optimizer, training.steps, training.batches_per_update)
    state = jax.eval_shape(partial(state_of, model, optimizer, config))
    token = CONVOLUTION_FORM.set("direct")
    try:
        rows = _shapes(model, state.params, frames, side) | _flops(model, state.variables, frames, side)
        return rows | _memory(model, state, batch, frames, side)
    finally:
        CONVOLUTION_FORM.reset(token)


def _forward(model: Any, variables: Any, video: jax.Array) -> jax.Array:
    return model.apply(variables, video)[0]


def _clip(model: Any, batch: int, frames: int, side: int) -> jax.ShapeDtypeStruct:
    """As long and as large as the model wants it."""
    return jax.ShapeDtypeStruct((batch, frames + sum(model.pad_frames(frames)), *model.pad_sides(side, side), 3), jnp.float32)


def _shapes(model: Any, params: Any, frames: int, side: int) -> dict[str, str]:
    parts = ("encoder", "decoder", *sorted(params.keys() - {"encoder", "decoder"}))
    count = {part: sum(leaf.size for leaf in jax.tree.leaves(params[part])) for part in parts}
    latents = model.latent_shape(frames, side, side)
    codes = model.quantizer.codebook_size
    return {
        "parameters": f"{sum(count.values()):,} ({', '.join(f'{part} {size:,}' for part, size in count.items())})",
        "input": f"{frames}x{side}x{side}, {3 * frames * side * side:,} values",
        "latents": f"{'x'.join(map(str, latents))}, {math.prod(latents):,} values" + (f", {codes:,} codes" if codes else ""),
        "pixel values per latent value": f"{3 * frames * side * side / math.prod(latents):.1f}",
    }


def _flops(model: Any, variables: Any, frames: int, side: int) -> dict[str, str]:
    forward, video = partial(_forward, model), _clip(model, 1, frames, side)
    counted, without = (count_flops(forward, variables, video, padding=padding) for padding in (True, False))
    by_xla = jax.jit(forward).lower(variables, video).cost_analysis()["flops"]
    return {
        "forward FLOPs, one clip": f"{_tera(counted)}: convolutions and matrix products, padding counted as is usual",
        "  without products with padding": f"{_tera(without)}",
        "  by XLA, which adds elementwise work": f"{_tera(by_xla)} ({by_xla / without - 1:+.2%} of the line above)",
    }


def _memory(model: Any, state: TrainState, batch: int, frames: int, side: int) -> dict[str, str]:
    clip = _clip(model, batch, frames, side)
    fixed = count_bytes(state) + count_bytes(state.params)
    activations = activation_bytes(partial(_forward, model), state.variables, clip)
    return {
        "training memory, parameters and state": f"{_giga(fixed)}: parameters, gradients, optimizer, moving average",
        f"training memory, activations, batch {batch}": f"{_giga(activations)}: kept for the backward pass",
        "training memory, estimate": f"{_giga(fixed + activations)} on one device",
    }


def _tera(value: float) -> str:
    return f"{value / 1e12:.2f} T" if value >= 1e10 else f"{value / 1e9:.2f} G"


def _giga(value: float) -> str:
    return f"{value / 1e9:.2f} GB"
