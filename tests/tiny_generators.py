"""Models of tokens with few parameters and random weights."""

import jax
import jax.numpy as jnp
import numpy as np

from tokjax.config import defaults
from tokjax.generation.families import build

LANGUAGE = {"grid": (2, 2, 3), "codes": 20, "width": 32, "depth": 2, "heads": 2}
DIFFUSION = {"grid": (2, 4, 4), "channels": 2, "width": 16, "depth": 2, "heads": 2, "temporal": True, "scaling": 0.5}


def config_of(family, **changes):
    config = defaults(family)
    config.model.update((LANGUAGE if family == "language_model" else DIFFUSION) | changes)
    return config


def model_of(family, seed=0, **changes):
    """(module, its variables), every weight random, those that training starts at zero too."""
    module, rng = build(config_of(family, **changes).model), np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), module.example())
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32), shapes["params"])
    rest = {name: jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes[name]) for name in shapes if name != "params"}
    return module, {"params": params, **rest}


def keys(count, seed=0):
    return jax.vmap(lambda number: jax.random.fold_in(jax.random.key(seed), number))(jnp.arange(count))
