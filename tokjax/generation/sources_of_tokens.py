"""Where a model of tokens gets them from, and whether they fit it: caches, or a tokenizer at work while it trains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from tokjax.conversion.package import digest, load
from tokjax.data.tokens import About, read_about
from tokjax.errors import ConfigError, require
from tokjax.generation.families import Generator
from tokjax.generation.language_model import LanguageModel
from tokjax.models.tokenizer import Tokenizer


def tokenizer_of(config: ConfigDict, model: Generator) -> tuple[Tokenizer | None, str]:
    """The tokenizer that works while training, if any, and the digest of the one that all tokens of the config are from.

    Raises:
      ConfigError: tokens that do not fit the model, or are from several tokenizers. PackageError, DataError: nothing to load.
    """
    worker = load(config.data.tokenizer) if config.data.tokenizer else None
    found = {config.data.tokenizer: digest(worker)} if worker else {}
    for path, one in _streams(config):
        if one.kind == "tokens":
            about = read_about(one.path)
            _require_fitting(model, about.shape, about.codes, f"the cache {one.path}")
            require(
                not model.classes or 0 < about.classes <= model.classes,
                f"the cache {one.path} has {about.classes} classes, but config.model.classes is {model.classes}",
            )
            found[one.path] = about.tokenizer
        else:
            _require_whole(worker, one.frames, one.resolution, path)
            shape, codes = made_of(worker, one.frames, one.resolution)
            _require_fitting(model, shape, codes, f"what {config.data.tokenizer} makes of {path}")
    (first, name), *others = found.items()
    for place, other in others:
        require(other == name, f"the tokens of {place} are of another tokenizer than those of {first}; encode the data anew")
    return worker, name


def _require_whole(tokenizer: Tokenizer, frames: int, side: int, path: str) -> None:
    """Refuses clips that the tokenizer would have to pad, so that tokens made while training are those of its `encode`."""
    back, sides = tokenizer.module.pad_frames(frames)[1], tokenizer.module.pad_sides(side, side)
    require(
        not back and sides == (side, side),
        f"{path} has clips of {frames} frames, {side}x{side}, which this tokenizer pads to {frames + back}, "
        f"{sides[0]}x{sides[1]}; set its frames and resolution to such",
    )


def _streams(config: ConfigDict) -> Iterator[tuple[str, ConfigDict]]:
    for split in ("train", "validation"):
        for name, one in config.data[split].items():
            yield f"config.data.{split}.{name}", one


def made_of(tokenizer: Tokenizer, frames: int, side: int) -> tuple[tuple[int, ...], int]:
    """The shape of a clip's tokens, and how many codes there are (0: latents)."""
    module = tokenizer.module
    codes, books = module.quantizer.codebook_size, len(getattr(module.quantizer, "codebooks", (None,)))
    shape = tuple(module.latent_shape(frames, side, side))
    if codes is None:
        return shape, 0
    return (shape[:3] if books == 1 else (*shape[:3], books)), codes


def _require_fitting(model: Generator, shape: Iterable[int], codes: int, what: str) -> None:
    shape, text = tuple(shape), "x".join(map(str, shape))
    if isinstance(model, LanguageModel):
        fits = shape == model.grid and codes == model.codes
        wanted = f"codes {'x'.join(map(str, model.grid))} of {model.codes:,}"
    else:
        channels = model.network.channels
        fits, wanted = (*model.grid, channels) == shape and not codes, f"latents {'x'.join(map(str, (*model.grid, channels)))}"
    is_there = f"codes {text} of {codes:,}" if codes else f"latents {text}"
    require(fits, f"{what} is {is_there}, but config.model is for {wanted}; set its grid, codes or channels")


def measured(config: ConfigDict) -> dict[str, Any]:
    """The collection "latents" of a model that scales them by what was measured: of the first cache in config.data.train."""
    cached = [one for one in config.data.train.values() if one.kind == "tokens"]
    if not cached:
        raise ConfigError("config.model.scaling is 0, but no cache says how latents are distributed")
    about: About = read_about(cached[0].path)
    return {"latents": {"mean": jnp.asarray(about.mean), "deviation": jnp.asarray(about.deviation)}}
