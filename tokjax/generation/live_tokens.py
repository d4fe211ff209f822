"""What a model of tokens is fed: tokens made while it learns them, and classes that it has words for."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from tokjax.data.records import DataError
from tokjax.models.values import to_float


def tokens_from(tokenizer: Any, variables: Any, video: jax.Array, key: jax.Array) -> jax.Array:
    """Codes, or latents drawn from their distribution, of clips [b,t,h,w,3], by a tokenizer's module; no gradient reaches it."""
    encoded = tokenizer.apply(variables, to_float(video), key, method="encode")
    return jax.lax.stop_gradient(encoded.latents if encoded.indices is None else encoded.indices)


def check_labels(classes: int, labels: np.ndarray) -> None:
    """Refuses samples that a model of classes has no word for.

    Raises:
      DataError
    """
    if classes and (labels.min() < 0 or labels.max() >= classes):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        what = "a sample has no class" if wrong < 0 else f"a sample is of class {wrong}"
        raise DataError(f"{what}, but config.model.classes is {classes}: every sample needs one from 0 to {classes - 1}")
