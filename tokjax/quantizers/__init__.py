"""Quantizers turn encoder outputs into latents: frozen dataclasses of settings, called as pure functions.

`quantizer(z, rng, train, step) -> Quantized`, where z is [b, t, h, w, latent channels * moments_per_latent] in float32.
"""

from collections.abc import Mapping
from typing import Any

from tokjax.quantizers.fsq import FSQ
from tokjax.quantizers.kl import KL
from tokjax.quantizers.quantized import Quantized

Quantizer = KL | FSQ

__all__ = ["FSQ", "KL", "Quantized", "Quantizer", "make_quantizer"]


def make_quantizer(config: Mapping[str, Any]) -> Quantizer:
    """The quantizer that `config.model.quantizer` asks for."""
    if config["name"] == "kl":
        return KL()
    return FSQ(
        levels=tuple(config["levels"]),
        entropy_weight=config["entropy_weight"],
        entropy_annealing_steps=config["entropy_annealing_steps"],
        entropy_annealing_factor=config["entropy_annealing_factor"],
        commitment_weight=config["commitment_weight"],
        diversity_gamma=config["diversity_gamma"],
    )
