"""The one place that knows every family of models: tokenizers, and models of their tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokjax.generation.language_model import LanguageModel
from tokjax.generation.latent_diffusion import LatentDiffusion
from tokjax.models import tokenizer

Generator = LanguageModel | LatentDiffusion
_GENERATORS = {"language_model": LanguageModel, "diffusion": LatentDiffusion}


def build(config: Mapping[str, Any]) -> Any:
    """The flax module of `config.model`, of whatever family."""
    found = _GENERATORS.get(config["family"])
    return tokenizer.build(config) if found is None else found.from_config(config)


def is_generator(model: Any) -> bool:
    """Whether a module is a model of tokens."""
    return isinstance(model, Generator)
