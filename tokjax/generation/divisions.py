"""Into how many parts a model of tokens can be split over the devices of a mesh."""

from __future__ import annotations

from collections.abc import Iterable

from jax.sharding import Mesh

from tokjax.errors import require
from tokjax.generation.families import Generator
from tokjax.generation.language_model import LanguageModel


def require_divisible(model: Generator, mesh: Mesh) -> None:
    """Refuses axes that do not divide what they split: tensor and context heads, tensor hidden channels, context a sequence.

    Raises:
      ConfigError
    """
    tensor, context = mesh.shape["tensor"], mesh.shape["context"]
    heads, inner, length, what = _sizes(model)
    known = range(1, heads + 1)
    lengths = [n for n in known if heads % n == 0 and length % n == 0]
    require(
        context in lengths,
        f"config.mesh.context is {context}, but it has to divide the {length:,} {what} and the {heads} heads of the model; "
        f"{_one_of(lengths)} would do",
    )
    widths = [n for n in known if heads % (n * context) == 0 and inner % n == 0]
    require(
        tensor in widths,
        f"config.mesh.tensor is {tensor}, but it has to divide the {inner:,} hidden channels and"
        f"{f', together with context {context},' * (context > 1)} the {heads} heads of the model; {_one_of(widths)} would do",
    )


def _sizes(model: Generator) -> tuple[int, int, int, str]:
    """Heads, hidden channels of an MLP, and the length of what context splits, with its name."""
    if isinstance(model, LanguageModel):
        return model.style.heads, model.style.inner, model.prefix_length + model.tokens - 1, "tokens of a sequence"
    network = model.network
    _, height, width = network.grid
    return network.heads, 4 * network.width, height * width // network.patch**2, "patches of a frame"


def _one_of(numbers: Iterable[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} or {last}" if most else last
