"""Published weights become directories that `tokjax.load` opens, and those become published weights again.

`convert_vidtok` is the way in for VidTok's checkpoints and diffusers' directories; `to_torch_file` and `to_diffusers` are the
ways out. Each writes its output whole or not at all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from tokjax.config import ConfigError, validate
from tokjax.conversion import diffusers, vidtok
from tokjax.conversion.checkpoint_files import read_checkpoint, require_name, write_state
from tokjax.conversion.kept_discriminators import KEPT, kept_in
from tokjax.conversion.package import PackageError, load, write
from tokjax.models.tokenizer import Tokenizer, build


def convert_vidtok(checkpoint: Path, config: ConfigDict, output: Path, with_discriminator: bool = False) -> Tokenizer:
    """Writes the tokenizer of a published checkpoint to `output`.

    Args:
      checkpoint: a .ckpt or .safetensors file, or a diffusers directory.
      config: of that very model; see vidtok_yaml.config_from_yaml and diffusers.config_from_diffusers.
      with_discriminator: keep the tensors of the training losses beside the model, as published.

    Raises:
      CheckpointError, ConfigError, PackageError: what is wrong with the file, the config or the output.
      ValueError: a tensor that the model lacks, does not know, or has in another shape.
    """
    require_new(output)
    validate(config)
    tensors = read_checkpoint(checkpoint / diffusers.WEIGHTS if checkpoint.is_dir() else checkpoint).tensors
    tensors = {name.replace("._orig_mod.", ".", 1): value for name, value in tensors.items()}  # left behind by torch.compile
    losses = {name: value for name, value in tensors.items() if name.startswith("loss.")}
    if with_discriminator:
        kept_in(losses, checkpoint)
    weights = {name: value for name, value in tensors.items() if not name.startswith(("loss.", "model_ema."))}
    tokenizer = make_tokenizer(
        config, lambda template: {"params": vidtok.from_torch(weights, template["params"], *_style(config))}
    )
    write_converted(tokenizer, output, checkpoint.name, losses if with_discriminator else {})
    return tokenizer


def make_tokenizer(config: ConfigDict, variables_like: Callable[[Any], Any]) -> Tokenizer:
    """A tokenizer with the variables that `variables_like(their shapes)` returns, floating point numbers in float32."""
    module = build(config.model)
    video = jax.ShapeDtypeStruct((1, module.time_factor, module.space_factor, module.space_factor, 3), jnp.float32)
    variables = variables_like(jax.eval_shape(module.init, jax.random.key(0), video))
    return Tokenizer(module, jax.tree.map(_single_precision, variables), config)


def _single_precision(leaf: np.ndarray) -> jax.Array:
    return jnp.asarray(leaf, jnp.float32 if jnp.issubdtype(leaf.dtype, jnp.floating) else None)


def require_new(output: Path) -> None:
    if output.exists():
        raise PackageError(f"{output} exists already; give a directory that does not")


def write_converted(tokenizer: Tokenizer, output: Path, source: str, losses: Mapping[str, np.ndarray] | None = None) -> None:
    """Writes an export, with the tensors of the training losses beside it where there are any."""
    partial = output.with_name(f".{output.name}.converting")
    shutil.rmtree(partial, ignore_errors=True)  # of a conversion that was killed
    partial.mkdir(parents=True)
    try:
        model = partial / "model"
        write(tokenizer, model, 0, f"converted from {source}")
        if losses:
            write_state(model / KEPT, losses)
            with open(model / "README.md", "a") as card:
                card.write(
                    f"\n`{KEPT}` holds what the training losses learned (discriminator, perceptual network, variance), "
                    "with the published names, for fine-tuning and for converting back.\n"
                )
        require_new(output)
        model.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def to_torch_file(directory: Path, output: Path) -> int:
    """Writes a VidTok tokenizer as a .ckpt or .safetensors file with the original's names and shapes; returns how many tensors.

    Raises:
      CheckpointError, ConfigError, PackageError.
    """
    require_name(output)
    state = _published_state(load(directory))
    losses = directory / KEPT
    state |= read_checkpoint(losses).tensors if losses.is_file() else {}
    write_state(output, state)
    return len(state)


def to_diffusers(directory: Path, output: Path) -> int:
    """Writes a VidTok tokenizer as a directory for diffusers' `AutoencoderVidTok`; returns how many tensors.

    Raises:
      CheckpointError, ConfigError, PackageError.
    """
    require_new(output)
    tokenizer = load(directory)
    state = _published_state(tokenizer)
    config = diffusers.config_for_diffusers(tokenizer.config.model)
    partial = output.with_name(f".{output.name}.converting")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        (partial / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        write_state(partial / diffusers.WEIGHTS, state)
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return len(state)


def _style(config: ConfigDict) -> tuple[str, str]:
    """What the published names depend on."""
    return config.model.norm, config.model.causality


def _published_state(tokenizer: Tokenizer) -> dict[str, np.ndarray]:
    model = tokenizer.config.model
    if model.family != "vidtok":
        raise ConfigError(f"this is a model of the family {model.family}, not vidtok")
    if model.architecture != "published" or model.quantizer.name not in ("kl", "fsq"):
        kind = f"the architecture {model.architecture} and {model.quantizer.name} latents"
        raise ConfigError(f"the original VidTok cannot hold this model with {kind}: it has the published one, with KL or FSQ")
    return vidtok.to_torch(tokenizer.variables["params"], *_style(tokenizer.config))
