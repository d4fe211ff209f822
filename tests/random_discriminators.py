"""Discriminators of random weights, for tests: ours, and as the published checkpoints name them."""

import jax
import numpy as np
from ml_collections import ConfigDict

from tokjax.conversion.discriminators import to_torch
from tokjax.models.discriminators import build_discriminator

USUAL = {"width": 4, "layers": 3, "norm": "batch", "activation": "leaky_relu", "noise": False, "dtype": "float32"}


def published_discriminator(kind, **changes):
    """(module, random variables, their published state dict)."""
    module, rng = build_discriminator(ConfigDict(USUAL | {"kind": kind} | changes)), np.random.default_rng(0)
    side = module.smallest_side
    rngs = dict.fromkeys(("params", "noise"), jax.random.key(0))
    shapes = jax.eval_shape(module.init, rngs, jax.ShapeDtypeStruct((1, 2, side, side, 3), np.float32))
    variables = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    return module, variables, to_torch(variables, module)
