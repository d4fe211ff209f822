"""The published OmniTokenizer's command-line arguments, which its checkpoints carry, as our `config.model`, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokjax.conversion.foreign_values import typed
from tokjax.defaults import OMNITOKENIZER, QUANTIZER

# Theirs -> ours, for values that mean the same in both.
_SAME = {
    "embedding_dim": "width",
    "heads": "heads",
    "dim_head": "head_width",
    "patch_size": "patch",
    "temporal_patch_size": "time_factor",
    "enc_block": "encoder_blocks",
    "dec_block": "decoder_blocks",
    "temporal_depth": "temporal_depth",
    "twod_window_size": "window",
    "causal_in_temporal_transformer": "causal",
    "causal_in_peg": "causal_convolution",
    "patch_embed": "embedding",
    "defer_temporal_pool": "defer_time_pool",
    "defer_spatial_pool": "defer_space_pool",
    "codebook_dim": "latent_channels",
}
_POSITIONS = {"rope": "rope", "rel": "relative"}
# What the original assumes where a checkpoint, being older, does not say.
_ASSUMED = {"twod_window_size": 4, "defer_temporal_pool": False, "defer_spatial_pool": False, "spatial_pos": "rel"}
_ASSUMED |= {"use_vae": False, "gen_upscale": None, "l2_code": False, "no_random_restart": False, "restart_thres": 1.0}
# Options of the original that no released model uses and that are not supported, with the value that leaves them off.
_OFF = {"ff_mult": 4, "use_external_codebook": False}


def read_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Changes to the defaults of `config.model`, `attention` aside (see `attention_of`).

    Released checkpoints spell `causal_` as `casual_`; both are read.

    Raises:
      ValueError: an argument is missing, of another type, or asks for what is not supported.
    """
    given = _ASSUMED | {str(name).replace("casual_", "causal_"): value for name, value in arguments.items()}
    for side in ("enc", "dec"):
        if f"{side}_block" not in given and "spatial_depth" in given:
            given[f"{side}_block"] = "t" * _typed(given, "spatial_depth", 0)
    needed = [name for name in (*_SAME, "n_codes") if name not in given]
    if needed:
        raise ValueError(f"the checkpoint's arguments lack {needed[0]}, which the model cannot be built without")
    for name, value in _OFF.items():
        if given.get(name, value) != value:
            raise ValueError(f"the checkpoint was made with {name}={given[name]!r}; only {name}={value!r} is supported")
    if given["spatial_pos"] not in tuple(_POSITIONS) or given["patch_embed"] not in ("linear", "cnn"):
        raise ValueError(
            f"the checkpoint has spatial_pos={given['spatial_pos']!r} and patch_embed={given['patch_embed']!r}; known are "
            "rope and rel, linear and cnn"
        )
    model = {ours: _typed(given, theirs, OMNITOKENIZER[ours]) for theirs, ours in _SAME.items()}
    upscale = _typed(given, "gen_upscale", 1) if given["gen_upscale"] else 1
    model |= {"mode": "published", "position": _POSITIONS[given["spatial_pos"]], "upscale": upscale}
    return model | {"quantizer": _quantizer(given)}


def _quantizer(given: Mapping[str, Any]) -> dict[str, Any]:
    if given["use_vae"]:
        return {"name": "kl"}
    same = {"codebook_size": "n_codes", "l2_codes": "l2_code"}
    codes = {ours: _typed(given, theirs, QUANTIZER[ours]) for ours, theirs in same.items()}
    restart = 0.0 if given["no_random_restart"] else _typed(given, "restart_thres", 0.0)
    codes |= {"restart_threshold": restart, "data_init": True, "ema_decay": 0.99}
    return {"name": "vq", "codebook_weight": 0.0, "commitment_weight": 0.25, **codes}


def _typed(given: Mapping[str, Any], name: str, like: Any) -> Any:
    return typed(f"the checkpoint's argument {name}", given[name], like)


def attention_of(name: str, position: str) -> str:
    """Which of the original's two ways of attention a checkpoint belongs to: "fused" or "explicit".

    The original adds the biases of positions only where PyTorch has no fused attention, so what a checkpoint was trained with
    is not written in it. By its README one released model was trained that way: imagenet_only, which has relative positions.
    So: explicit where positions are relative and the file is called imagenet_only, else fused.
    """
    return "explicit" if position == "relative" and "imagenet_only" in name else "fused"


def write_arguments(model: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the original for `config.model`; `read_arguments` gives the model back."""
    quantizer = model["quantizer"]
    vae = quantizer["name"] == "kl"
    return {theirs: model[ours] for theirs, ours in _SAME.items()} | {
        "spatial_depth": len(model["encoder_blocks"]),
        "spatial_pos": {ours: theirs for theirs, ours in _POSITIONS.items()}[model["position"]],
        "gen_upscale": model["upscale"] if model["upscale"] > 1 else None,
        "use_vae": vae,
        "n_codes": 8192 if vae else quantizer["codebook_size"],
        "l2_code": True if vae else quantizer["l2_codes"],
        "no_random_restart": not quantizer["restart_threshold"],
        "restart_thres": quantizer["restart_threshold"] or 1.0,
    }
