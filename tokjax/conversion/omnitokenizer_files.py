"""Published OmniTokenizer checkpoints become directories that `tokjax.load` opens, and those become checkpoints again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from tokjax.config import ConfigError, defaults, stream, validate
from tokjax.conversion.checkpoint_files import CheckpointFile, StandIn, read_checkpoint, require_name, write_state
from tokjax.conversion.converted import require_new, write_converted
from tokjax.conversion.foreign_values import typed
from tokjax.conversion.kept_discriminators import KEPT, kept_in
from tokjax.conversion.omnitokenizer import LEFT_OUT, from_torch, to_torch
from tokjax.conversion.omnitokenizer_arguments import attention_of, read_arguments, write_arguments
from tokjax.conversion.package import load
from tokjax.models.omnitokenizer import OmniTokenizer
from tokjax.models.tokenizer import Tokenizer, build


def convert_omnitokenizer(
    checkpoint: Path,
    output: Path,
    attention: str | None = None,
    like: ConfigDict | None = None,
    with_discriminator: bool = False,
) -> Tokenizer:
    """Writes the tokenizer of a published checkpoint to `output`.

    Args:
      attention: "fused" or "explicit"; None follows the rule of `attention_of`.
      like: config of the same model, for a file that holds no arguments.
      with_discriminator: keep the tensors of the training losses beside the model, as published.

    Raises:
      CheckpointError, ConfigError, PackageError: what is wrong with the file, its arguments or the output.
      ValueError: a tensor that the model lacks, does not know, or has in another shape.
    """
    require_new(output)
    file = read_checkpoint(checkpoint)
    config = _config(checkpoint, file, like)
    if attention or like is None:
        config.model.attention = attention or attention_of(checkpoint.name, config.model.position)
    validate(config)
    losses = {}
    if with_discriminator:
        losses = {name: value for name, value in file.tensors.items() if name.startswith(LEFT_OUT)}
        kept_in(losses, checkpoint)
    module = build(config.model)
    tokenizer = Tokenizer(module, jax.tree.map(jnp.asarray, from_torch(file.tensors, module)), config)
    write_converted(tokenizer, output, checkpoint.name, losses)
    return tokenizer


def _config(checkpoint: Path, file: CheckpointFile, like: ConfigDict | None) -> ConfigDict:
    arguments = _arguments(file.rest)
    if arguments is not None and like is not None:
        raise ConfigError(f"{checkpoint} holds the arguments that it was trained with; leave out --like")
    if like is not None:
        _require_published(like, "--like")
        return like
    if arguments is None:
        raise ConfigError(
            f"{checkpoint} does not hold the arguments that it was trained with; give the same model as "
            "--like experiments/omnitokenizer.py:VARIANT"
        )
    config = defaults("omnitokenizer")
    config.name = checkpoint.stem
    config.model.update(read_arguments(arguments))
    if config.model.quantizer.name == "kl":
        config.loss.regularization_weight = _argument(arguments, "kl_weight", 1e-6)
    else:
        config.loss.regularization_weight = 1.0
    validate(config)
    config.data.validation = _published_clips(arguments, build(config.model))
    return config


def _require_published(config: ConfigDict, what: str) -> None:
    model = config.model
    if model.mode != "published" or model.embedding == "plain" or model.quantizer.name not in ("vq", "kl"):
        kind = f"mode={model.mode!r}, embedding={model.embedding!r} and {model.quantizer.name} latents"
        raise ConfigError(
            f"{what} is a model with {kind}, which the original OmniTokenizer cannot compute: it has mode='published', "
            "embedding='linear' or 'cnn', and vq or kl"
        )


def _argument(arguments: dict[str, Any], name: str, default: Any) -> Any:
    return typed(f"the checkpoint's argument {name}", arguments.get(name, default), default)


def _published_clips(arguments: dict[str, Any], module: OmniTokenizer) -> dict[str, ConfigDict]:
    """The clips of the published evaluation (16 frames per second), as large and long as the model gives them back whole."""
    if module.upscale > 1:
        return {}  # what comes back cannot be compared
    side, frames = _argument(arguments, "resolution", 256), _argument(arguments, "sequence_length", 17)
    clip = {"resolution": max(module.pad_sides(side, side)), "crop": "centre", "flip": False}
    frames += sum(module.pad_frames(frames))
    return {
        "images": stream("images", "data/images", **clip),
        "videos": stream("videos", "data/videos", frames=frames, frame_rate=16.0, **clip),
    }


def _arguments(rest: dict[str, Any]) -> dict[str, Any] | None:
    """The command line that a training checkpoint was made with; None where it holds none."""
    found = rest.get("hyper_parameters")
    found = found.get("args", found) if isinstance(found, dict) else found
    found = found.state if isinstance(found, StandIn) else found
    return found if isinstance(found, dict) and found else None


def to_torch_file(directory: Path, output: Path) -> int:
    """Writes an OmniTokenizer as .ckpt (with its arguments) or .safetensors, with the original's names and shapes.

    Returns:
      How many tensors.

    Raises:
      CheckpointError, ConfigError, PackageError.
    """
    require_name(output)
    tokenizer = load(directory)
    model = tokenizer.config.model
    if model.family != "omnitokenizer":
        raise ConfigError(f"this is a model of the family {model.family}, not omnitokenizer")
    _require_published(tokenizer.config, str(directory))
    state = to_torch(tokenizer.variables, tokenizer.module)
    losses = directory / KEPT
    state |= read_checkpoint(losses).tensors if losses.is_file() else {}
    write_state(output, state, {"hyper_parameters": {"args": argparse.Namespace(**write_arguments(model))}})
    return len(state)
