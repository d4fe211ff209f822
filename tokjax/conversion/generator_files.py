"""Published checkpoints of language models, DiT and Latte become directories for `tokjax generate`, and checkpoints again."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from tokjax.config import validate
from tokjax.conversion.checkpoint_files import read_checkpoint, require_name, write_state
from tokjax.conversion.converted import require_new
from tokjax.conversion.generators import from_torch, to_torch
from tokjax.errors import ConfigError
from tokjax.generation.families import build
from tokjax.generation.latent_diffusion import PUBLISHED_SCALE
from tokjax.generation.package import TokenModel, load_generator, write_generator


def convert_generator(checkpoint: Path, output: Path, like: ConfigDict) -> TokenModel:
    """Writes the model of a published checkpoint to `output`.

    Args:
      like: config of the same model.

    Raises:
      CheckpointError, ConfigError, PackageError: what is wrong with the file, the config or the output.
      ValueError: a tensor that the model lacks, does not know, or has in another shape.
    """
    require_new(output)
    validate(like)
    _require_published(like)
    module = build(like.model)
    params = jax.tree.map(jnp.asarray, from_torch(read_checkpoint(checkpoint).tensors, module))
    model = TokenModel(module, {"params": params}, like, step=0, tokenizer="")
    write_generator(model, output, f"converted from {checkpoint.name}")
    return model


def to_torch_file(directory: Path, output: Path) -> int:
    """Writes a model as .ckpt (of diffusion as the table `ema`) or .safetensors, as published; returns how many tensors.

    Raises:
      CheckpointError, ConfigError, PackageError.
    """
    require_name(output)
    model = load_generator(directory)
    _require_published(model.config)
    state = to_torch(model.variables["params"], model.module)
    write_state(output, state, table="state_dict" if model.config.model.family == "language_model" else "ema")
    return len(state)


def _require_published(config: ConfigDict) -> None:
    """Refuses what the originals cannot hold."""
    model = config.model
    if model.family == "language_model":
        found, wanted = f"mode={model.mode!r} and block={model.block!r}", "mode='published' and block='published'"
        fits = model.mode == model.block == "published"
    else:
        found = f"prediction={model.prediction!r}, learned_range={model.learned_range} and scaling={model.scaling}"
        wanted = f"prediction='noise', learned_range=True and a scaling above 0, as {PUBLISHED_SCALE}"
        fits = model.prediction == "noise" and model.learned_range and model.scaling > 0
    if not fits:
        raise ConfigError(f"the original {model.family} is one with {wanted}; this model has {found}")
