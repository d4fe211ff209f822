"""A tokenizer with few parameters and random weights: a latent covers 2 frames of 2 x 2 pixels; KL, or FSQ with 20 codes."""

from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from tokjax.config import defaults, stream, validate
from tokjax.conversion.package import write
from tokjax.models.tokenizer import Tokenizer, build


def tiny_config(quantizer: str = "kl") -> ConfigDict:
    config = defaults()
    config.name = f"tiny {quantizer}"
    config.model.update(
        {"channels": 4, "channel_multipliers": (1, 1), "blocks_per_level": 1, "latent_channels": 2, "time_factor": 2}
    )
    config.model.quantizer.update({"name": quantizer, "levels": (5, 4) if quantizer == "fsq" else ()})
    config.data.train.videos = stream("videos", "videos", frames=5, resolution=16)
    config.data.validation.videos = stream("videos", "videos", frames=3, batch=2, resolution=16, crop="centre", flip=False)
    validate(config)
    return config


@cache
def tiny_tokenizer(quantizer: str = "kl", seed: int = 0) -> Tokenizer:
    """Every weight is random, those that training starts at zero too, so that each has an effect."""
    config, rng = tiny_config(quantizer), np.random.default_rng(seed)
    module = build(config.model)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 1, 2, 2, 3)))["params"]
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32), shapes)
    return Tokenizer(module, {"params": params}, config)


def write_tiny(folder: Path, quantizer: str = "kl", seed: int = 0) -> Path:
    """An export of the tiny tokenizer as a new directory in `folder`."""
    output = folder / f"{quantizer}_{seed}"
    write(tiny_tokenizer(quantizer, seed), output, 7, "a test")
    return output
