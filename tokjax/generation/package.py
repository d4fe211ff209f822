"""A trained model of tokens as a directory, and back, as tokjax.conversion.package does for tokenizers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from tokjax import __version__
from tokjax.conversion.package import PackageError, Trained, digest, read_trained, write_package
from tokjax.defaults import GENERATORS
from tokjax.generation.families import Generator, build
from tokjax.generation.language_model import LanguageModel
from tokjax.models.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class TokenModel:
    """A model of tokens and its weights.

    Attributes:
      module, variables, config: for people who write their own loop.
      step: of its training.
      tokenizer: digest of the tokenizer whose tokens it makes; "" where that is not known.
    """

    module: Generator
    variables: Mapping[str, Any]
    config: ConfigDict
    step: int
    tokenizer: str

    def require_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Refuses a tokenizer whose tokens are others.

        Raises:
          PackageError
        """
        if self.tokenizer and self.tokenizer != digest(tokenizer):
            raise PackageError("this model was trained on the tokens of another tokenizer; decode what it makes with that one")
        codes, channels = tokenizer.module.quantizer.codebook_size, tokenizer.module.latent_channels
        if isinstance(self.module, LanguageModel):
            fits, makes = codes == self.module.codes, f"{self.module.codes:,} codes"
        else:
            wanted = self.module.network.channels
            fits, makes = codes is None and channels == wanted, f"latents of {wanted} channels"
        has = f"{codes:,} codes" if codes else f"latents of {channels} channels"
        if not fits:
            raise PackageError(f"this model makes {makes}, but the tokenizer has {has}")


def load_generator(path: str | Path, step: int | None = None) -> TokenModel:
    """The model of tokens in an export or a training workdir.

    Args:
      step: of a training workdir; None takes the newest.

    Raises:
      PackageError: nothing there that could be loaded, or a tokenizer.
    """
    trained = read_trained(Path(path), step)
    if trained.config.model.family not in GENERATORS:
        raise PackageError(f"{path} holds a tokenizer, not a model of tokens; tokjax.load opens it")
    tokenizer = trained.record.get("perceptual", trained.record.get("tokenizer", ""))
    return TokenModel(build(trained.config.model), trained.variables, trained.config, trained.step, tokenizer)


def export_generator(workdir: Path, output: Path, step: int | None = None) -> None:
    """Writes the model of a training workdir, without what only training needs.

    Raises:
      PackageError: the output exists, or nothing there that could be loaded.
    """
    if output.exists():
        raise PackageError(f"{output} exists already; give a directory that does not")
    write_generator(load_generator(workdir, step), output, f"training run {workdir.resolve().name}")


def write_generator(model: TokenModel, output: Path, source: str) -> None:
    """Writes a model to `output`, complete or not at all."""
    record = {"source": source, "tokenizer": model.tokenizer}
    write_package(output, Trained(model.config, dict(model.variables), model.step, record), _model_card(model, source))


def _model_card(model: TokenModel, source: str) -> str:
    parameters = sum(leaf.size for leaf in jax.tree.leaves(model.variables["params"]))
    rows = {
        "family": model.config.model.family,
        "parameters": f"{parameters:,}",
        "tokens": "x".join(map(str, model.module.grid)),
        "classes": model.module.classes,
        "tokenizer": model.tokenizer[:16] or "not known",
        "step": model.step,
        "source": source,
        "tokjax": __version__,
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    use = "    tokjax generate PATH --tokenizer TOKENIZER -o samples"
    return f"# {model.config.name or 'tokjax model of tokens'}\n\n| | |\n|---|---|\n{table}\n\n{use}\n"
