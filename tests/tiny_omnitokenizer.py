"""An OmniTokenizer with few parameters: patches of 2 frames of 2 x 2 pixels, windows of 2 x 2 tokens; 16 codes, or KL."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from tokjax.config import defaults, validate
from tokjax.models.omnitokenizer import OmniTokenizer

TINY = {"width": 16, "heads": 2, "head_width": 8, "patch": 2, "time_factor": 2, "window": 2, "temporal_depth": 1}
TINY |= {"encoder_blocks": "tw", "decoder_blocks": "t", "latent_channels": 4, "init": "vit"}
QUANTIZERS = {
    "vq": {"name": "vq", "codebook_size": 16, "ema_decay": 0.99, "codebook_weight": 0.0, "l2_codes": True, "data_init": True},
    "kl": {"name": "kl"},
}


def tiny_config(quantizer: str = "vq", **changes: Any) -> ConfigDict:
    config = defaults("omnitokenizer")
    config.name = f"tiny omnitokenizer {quantizer}"
    config.model.update(TINY | changes)
    config.model.quantizer.update(QUANTIZERS[quantizer])
    validate(config)
    return config


def tiny_omnitokenizer(quantizer: str = "vq", **changes: Any) -> OmniTokenizer:
    return OmniTokenizer.from_config(tiny_config(quantizer, **changes).model)


def random_variables(model: OmniTokenizer) -> dict[str, Any]:
    """Every number is random, those that training starts at zero or one too; variances are positive, flags set."""
    rng = np.random.default_rng(0)

    def draw(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> jax.Array:
        values = rng.normal(0, 0.4, leaf.shape)
        return jnp.asarray(np.abs(values) if path[-1].key == "var" else values, jnp.float32).astype(leaf.dtype)

    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 1, 8, 8, 3), jnp.float32))
    return jax.tree_util.tree_map_with_path(draw, shapes)
