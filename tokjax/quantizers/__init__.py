"""Quantizers turn encoder outputs into latents: `quantizer(z, rng, train, step) -> Quantized`.

z is [b, t, h, w, latent channels * moments_per_latent]; everything is computed in float32. KL, FSQ, LFQ and NoQuantizer are
frozen dataclasses of settings, called as functions. VQ and Codebooks are flax modules, since they hold a codebook or linear
layers; outside of a model they run by `apply`. All of them have

  codebook_size: number of codes of each codebook, or None where latents are continuous.
  moments_per_latent: 2 where z holds mean and log-variance, else 1.
  indices_to_latents(indices): what the decoder got with these indices; not where latents are continuous.
"""

from collections.abc import Mapping
from typing import Any

from tokjax.quantizers.codebooks import Codebooks
from tokjax.quantizers.entropy import GridLosses
from tokjax.quantizers.fsq import FSQ
from tokjax.quantizers.kl import KL
from tokjax.quantizers.lfq import LFQ
from tokjax.quantizers.none import NoQuantizer
from tokjax.quantizers.quantized import Quantized
from tokjax.quantizers.vq import VQ

Quantizer = KL | FSQ | LFQ | VQ | Codebooks | NoQuantizer

__all__ = ["FSQ", "KL", "LFQ", "VQ", "Codebooks", "GridLosses", "NoQuantizer", "Quantized", "Quantizer", "make_quantizer"]

_GRID_LOSSES = ("entropy_weight", "entropy_annealing_steps", "entropy_annealing_factor", "commitment_weight", "diversity_gamma")
_VQ = ("codebook_size", "l2_codes", "commitment_weight", "codebook_weight", "ema_decay", "data_init", "restart_threshold")


def make_quantizer(config: Mapping[str, Any]) -> Quantizer:
    """The quantizer that `config.model.quantizer` asks for.

    Raises:
      ValueError: a name that is none of kl, fsq, lfq, vq, none.
    """
    name = config["name"]
    if name == "kl":
        return KL()
    if name == "none":
        return NoQuantizer()
    if config["num_codebooks"] == 1 and not config["codebook_width"]:
        return _one_codebook(name, config)
    codebooks = tuple(_one_codebook(name, config) for _ in range(config["num_codebooks"]))
    return Codebooks(codebooks, config["codebook_width"])


def _one_codebook(name: str, config: Mapping[str, Any]) -> FSQ | LFQ | VQ:
    if name == "vq":
        return VQ(**{key: config[key] for key in _VQ})
    losses = GridLosses(**{key: config[key] for key in _GRID_LOSSES})
    if name == "fsq":
        return FSQ(tuple(config["levels"]), losses)
    if name == "lfq":
        return LFQ(config["codebook_size"], losses)
    raise ValueError(f"config.model.quantizer.name must be one of kl, fsq, lfq, vq, none, not {name!r}")
