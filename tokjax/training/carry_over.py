"""Weights for several frames made of weights for one, when a stage on images is followed by one on videos (OmniTokenizer).

Three ways: "average" and "first" as published, and "sound". The published ones lay values out by frame and then colour, although
the model reads them by colour and then frame, and "average" also divides what is not summed over frames (the gains and biases of
norms, and the output), so a still image does not come out of it as itself. With "sound" it does: every tube of a still video
makes the token that the image makes, and every frame of its output is the image's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from einops import rearrange

How = Literal["average", "first", "sound"]
_PLACE = {"first": 0, "center": 1, "last": 3}


def inflate(params: Mapping[str, Any], frames: int, how: How) -> dict[str, Any]:
    """OmniTokenizer's parameters with weights for patches of `frames` frames made of those of the first frame.

    Args:
      params: of a model with embedding="linear" or "plain"; the weights for later frames that it has are not read.
    """
    embedding, unembedding = params["encoder"]["embedding"], params["decoder"]["unembedding"]
    tube = inflate_embedding(embedding["first_frame"], frames, how)
    head = inflate_unembedding(unembedding["first_frame"], frames, how)
    return {
        **params,
        "encoder": {**params["encoder"], "embedding": {**embedding, "rest": tube}},
        "decoder": {**params["decoder"], "unembedding": {**unembedding, "rest": head}},
    }


def inflate_embedding(first: Mapping[str, Any], frames: int, how: How) -> dict[str, Any]:
    """{norm_in, linear, norm_out}: the first, if there, and the kernel's rows [3*p*p, width] belong to a patch's values."""
    kernel = {"kernel": _repeated(first["linear"]["kernel"], frames, how, summed=True)}
    norms = {name: first[name] for name in ("norm_in",) if name in first}
    norms = jax.tree.map(lambda leaf: _repeated(leaf, frames, how, summed=False), norms)
    return {**first, **norms, "linear": {**first["linear"], **kernel}}


def inflate_unembedding(first: Mapping[str, Any], frames: int, how: How) -> dict[str, Any]:
    """{linear}: the columns of the kernel [width, 3*p*p] and the bias belong to a patch's values."""
    linear = first["linear"]
    kernel = _repeated(linear["kernel"].T, frames, how, summed=False).T
    return {"linear": {"kernel": kernel, "bias": _repeated(linear["bias"], frames, how, summed=False)}}


def _repeated(values: jax.Array, frames: int, how: How, summed: bool) -> jax.Array:
    """[3*p*p, ...] -> [3*frames*p*p, ...]; `summed` tells that what is computed with them is summed over the frames."""
    if how == "sound":
        by_colour = jnp.broadcast_to(
            values.reshape(3, 1, -1, *values.shape[1:]), (3, frames, len(values) // 3, *values.shape[1:])
        )
        return rearrange(by_colour, "c f v ... -> (c f v) ...") / (frames if summed else 1)
    if how == "average":
        return jnp.concatenate([values / frames] * frames)
    return jnp.concatenate([values, *[jnp.zeros_like(values)] * (frames - 1)])


def inflate_kernel(kernel: jax.Array, how: Literal["average", "first", "center", "last"]) -> jax.Array:
    """A discriminator's convolution of images [h,w,i,o] as one of videos [4,h,w,i,o]."""
    if how == "average":
        return jnp.stack([kernel / 4] * 4)
    return jnp.zeros((4, *kernel.shape), kernel.dtype).at[_PLACE[how]].set(kernel)
