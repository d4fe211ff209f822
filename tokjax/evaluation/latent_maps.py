"""What a model's latents look like over a clip: their three main directions of variation as colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tokjax.evaluation.examples import Picture
from tokjax.models.tokenizer import Tokenizer

LONGEST = 17  # frames of a clip that are encoded
SPREAD = 2.5  # standard deviations that fill the range of a colour


def latent_maps(tokenizer: Tokenizer, pictures: Sequence[Picture]) -> dict[str, np.ndarray]:
    """By the pictures' names, uint8 [t',h',w',3]. Colours of one clip do not compare with those of another."""
    return {one.name: colours(np.asarray(tokenizer.encode(one.original[None, :LONGEST]).latents)[0]) for one in pictures}


def colours(latents: np.ndarray) -> np.ndarray:
    """Latents [t,h,w,c] projected on their three main axes, as uint8 [t,h,w,3]; fewer than three channels leave colours grey."""
    flat = latents.reshape(-1, latents.shape[-1]).astype(np.float64)
    flat -= flat.mean(0)
    _, directions = np.linalg.eigh(flat.T @ flat)
    main = flat @ directions[:, ::-1][:, :3]
    main = np.pad(main, ((0, 0), (0, 3 - main.shape[1])))
    deviation = main.std(0)
    main /= SPREAD * np.where(deviation > 0, deviation, 1.0)
    return np.clip((main + 1) * 127.5, 0, 255).astype(np.uint8).reshape(*latents.shape[:-1], 3)
