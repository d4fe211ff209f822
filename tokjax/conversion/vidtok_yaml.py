"""The original VidTok's .yaml files become our config.

They are OmegaConf files: a value `${model.params.encoder_config.params}` stands for what lies there, `${.x}` for a neighbour.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ml_collections import ConfigDict

from tokjax.config import ConfigError, defaults, stream
from tokjax.conversion.foreign_values import typed

# Engine, encoder and decoder of the three published families, by the end of their `target`.
_FAMILIES = {
    ("autoencoder", "model_3dcausal.EncoderCausal3DPadding", "model_3dcausal.DecoderCausal3DPadding"): "causal",
    (
        "autoencoder_v1_1",
        "model_3dcausal_v1_1.EncoderCausal3DPadding",
        "model_3dcausal_v1_1.DecoderCausal3DPadding",
    ): "causal_v1_1",
    ("autoencoder", "model_3dnoncausal.Encoder3D", "model_3dnoncausal.Decoder3D"): "noncausal",
}
_KEYS = {
    "ch": "channels",
    "ch_mult": "channel_multipliers",
    "num_res_blocks": "blocks_per_level",
    "z_channels": "latent_channels",
    "time_downsample_factor": "time_factor",
    "norm_type": "norm",
}
_POSITIONS = {"spatial_ds": "spatial_down", "spatial_us": "spatial_up", "tempo_ds": "time_down", "tempo_us": "time_up"}
_FSQ = {  # our key, and what the original does where the file says nothing
    "entropy_loss_weight": ("entropy_weight", 0.0),
    "entropy_loss_annealing_steps": ("entropy_annealing_steps", 0),
    "entropy_loss_annealing_factor": ("entropy_annealing_factor", 1.0),
    "commitment_loss_weight": ("commitment_weight", 0.0),
    "diversity_gamma": ("diversity_gamma", 1.0),
}
# Values that change the arithmetic and are the same in every published file: no others are implemented.
_FIXED = {"in_channels": 3, "out_ch": 3, "resamp_with_conv": True, "tanh_out": False, "init_pad_mode": "replicate"}
_CLIP_FRAMES = {"causal": 17, "causal_v1_1": 33, "noncausal": 16}
_REFERENCE = re.compile(r"\$\{(\.*)([\w.]+)\}")


class Document:
    """A parsed .yaml file in which references are followed when a value is looked up, and only then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._root = yaml.safe_load(path.read_bytes())
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ConfigError(f"cannot read {path}: it is no YAML ({' '.join(str(error).split())})") from error
        if not isinstance(self._root, dict):
            raise ConfigError(f"{path} is no VidTok configuration: it has no keys")

    def get(self, path: str, default: Any = None) -> Any:
        """The value at a dotted path, or the default.

        Raises:
          ConfigError: a reference on the way that leads nowhere, or in a circle.
        """
        found, value, _ = self._walk(tuple(path.split(".")), 0)
        return value if found else default

    def _walk(self, path: tuple[str, ...], followed: int) -> tuple[bool, Any, tuple[str, ...]]:
        """(found, value, where it really is)."""
        node, here = self._root, ()
        for key in path:
            if not isinstance(node, Mapping) or key not in node:
                return False, None, here
            node, here = self._follow(node[key], (*here, key), followed)
        return True, node, here

    def _follow(self, value: Any, here: tuple[str, ...], followed: int) -> tuple[Any, tuple[str, ...]]:
        if not isinstance(value, str) or "${" not in value:
            return value, here
        reference = _REFERENCE.fullmatch(value.strip())
        if reference is None:
            return value, here
        dots, name = reference.groups()
        target = (*(here[: -len(dots)] if dots else ()), *name.split("."))
        found, value, there = self._walk(target, followed + 1) if followed < 20 else (False, None, here)
        if not found:
            raise ConfigError(f"{self.path}: the value of {'.'.join(here)} refers to {reference[0]}, which leads nowhere")
        return value, there


def config_from_yaml(path: Path) -> ConfigDict:
    """Our config of the model that a file of the original describes, with the clips it was published with.

    Raises:
      ConfigError: no such file, or a model that is not one of VidTok's.
    """
    document = Document(path)
    causality = _family(document)
    config = published_config(path.stem, causality)
    encoder, decoder = (document.get(f"model.params.{half}_config.params", {}) for half in ("encoder", "decoder"))
    if not isinstance(encoder, Mapping) or not isinstance(decoder, Mapping):
        raise ConfigError(f"{path}: the encoder and the decoder need `params`")
    _check_fixed(path, encoder, causality)
    positions = {} if causality == "noncausal" else _POSITIONS  # which the original's non-causal model does not read
    for name, ours in (_KEYS | positions).items():
        if encoder.get(name) != decoder.get(name):
            raise ConfigError(f"{path}: encoder and decoder differ in {name}, which no published model does")
        if name not in encoder and name in _KEYS:
            raise ConfigError(f"{path}: the encoder's params lack the key {name}")
        config.model[ours] = typed(f"{path}: {name}", encoder.get(name, ()), config.model[ours])
    _set_quantizer(document, encoder, config.model)
    return config


def _check_fixed(path: Path, encoder: Mapping[str, Any], causality: str) -> None:
    fixed = dict(_FIXED)
    if causality == "causal_v1_1":
        fixed["interpolation_mode"] = "trilinear"
        encoder = {"interpolation_mode": "nearest", **encoder}  # what the original does where the file says nothing
    for name, only in fixed.items():
        if encoder.get(name, only) != only:
            raise ConfigError(
                f"{path}: {name} is {encoder[name]!r}, but only {only!r} is implemented, as in every published file"
            )


def _family(document: Document) -> str:
    targets = [document.get(f"model.{name}target") for name in ("", "params.encoder_config.", "params.decoder_config.")]
    engine = re.fullmatch(r"(?:.*\.)?(\w+)\.AutoencodingEngine", str(targets[0]))
    names = (engine and engine[1], *(".".join(str(target).split(".")[-2:]) for target in targets[1:]))
    if names not in _FAMILIES:
        raise ConfigError(
            f"{document.path} is no VidTok configuration: it has the model {targets[0]}, the encoder {targets[1]} and the "
            f"decoder {targets[2]}; VidTok has AutoencodingEngine with model_3dcausal, model_3dnoncausal or model_3dcausal_v1_1"
        )
    return _FAMILIES[names]


def _set_quantizer(document: Document, encoder: Mapping[str, Any], model: ConfigDict) -> None:
    name = str(document.get("model.params.regularizer_config.target")).rpartition(".")[2]
    if name not in ("DiagonalGaussianRegularizer", "FSQRegularizer"):
        raise ConfigError(
            f"{document.path}: the regularizer is {name}, but VidTok has DiagonalGaussianRegularizer and FSQRegularizer"
        )
    kl = name == "DiagonalGaussianRegularizer"
    if encoder.get("double_z", True) is not kl:
        raise ConfigError(f"{document.path}: double_z must be {str(kl).lower()} for {name}")
    model.quantizer.name = "kl" if kl else "fsq"
    if kl:
        return
    theirs = document.get("model.params.regularizer_config.params") or {}
    other = [key for key in theirs if key not in _FSQ and key != "levels"]
    if other:
        raise ConfigError(
            f"{document.path}: the regularizer's {other[0]} is not used by any published model, and not implemented"
        )
    model.quantizer["levels"] = typed(f"{document.path}: levels", theirs.get("levels"), ())
    for key, (ours, default) in _FSQ.items():
        model.quantizer[ours] = typed(f"{document.path}: {key}", theirs.get(key, default), model.quantizer[ours])


def published_config(name: str, causality: str) -> ConfigDict:
    """A VidTok config with the clips of the published training (3 frames per second) and evaluation (8)."""
    config = defaults("vidtok")
    config.name, config.model.causality = name, causality
    clip = {
        "frames": _CLIP_FRAMES[causality],
        "resolution": 256,
        "batch": 1,
        "crop": "centre",
        "flip": False,
        "frame_rule": "vidtok",
    }
    config.data.train.video = stream("videos", "data/videos", table="data/videos/train.csv", frame_rate=3.0, **clip)
    config.data.validation.videos = stream("videos", "data/videos", table="data/videos/validation.csv", frame_rate=8.0, **clip)
    return config
