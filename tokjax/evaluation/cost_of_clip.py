"""What a clip costs a model: bits, latents, parameters and FLOPs, from shapes alone."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from tokjax.models.convolution import CONVOLUTION_FORM
from tokjax.models.cost import count_flops
from tokjax.models.tokenizer import Tokenizer

BITS_OF_A_PIXEL = 24


def cost_of_clip(tokenizer: Tokenizer, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Of a clip of (t, h, w), as the papers' tables give it.

    Returns:
      bits_per_pixel and compression_ratio (24-bit pixels to codes without entropy coding; None for continuous latents),
      pixel_values_per_latent_value, parameters, flops (of encoding and decoding the clip as long and large as the model wants it;
      2 per multiply-accumulate, padding counted).
    """
    module, (t, h, w) = tokenizer.module, shape
    latents = module.latent_shape(*shape)
    size = module.quantizer.codebook_size
    books = len(getattr(module.quantizer, "codebooks", (None,)))
    bits = None if size is None else math.prod(latents[:3]) * books * math.log2(size) / (t * h * w)
    return {
        "clip": {"frames": t, "height": h, "width": w},
        "bits_per_pixel": bits,
        "compression_ratio": None if bits is None else BITS_OF_A_PIXEL / bits,
        "pixel_values_per_latent_value": t * h * w * 3 / math.prod(latents),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(tokenizer.variables["params"])),
        "flops": _flops(tokenizer, shape),
    }


def _flops(tokenizer: Tokenizer, shape: tuple[int, int, int]) -> int:
    """Of the direct convolutions, whatever form this machine computes."""
    module, (t, h, w) = tokenizer.module, shape
    clip = jax.ShapeDtypeStruct((1, t + sum(module.pad_frames(t)), *module.pad_sides(h, w), 3), jnp.float32)
    token = CONVOLUTION_FORM.set("direct")
    try:
        return count_flops(lambda variables, video: module.apply(variables, video)[0], tokenizer.variables, clip)
    finally:
        CONVOLUTION_FORM.reset(token)
