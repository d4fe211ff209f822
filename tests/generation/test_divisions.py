"""Meshes that do not divide a model of tokens are refused with the numbers that would do."""

from types import SimpleNamespace

import pytest
from tiny_generators import config_of

from tokjax.config import ConfigError, defaults, validate
from tokjax.generation.divisions import require_divisible
from tokjax.generation.families import build


def on(family, changes, tensor=1, context=1):
    mesh = SimpleNamespace(shape={"data": 1, "fsdp": 1, "tensor": tensor, "context": context})
    require_divisible(build(config_of(family, width=64, **changes).model), mesh)


@pytest.mark.parametrize(
    ("family", "changes", "sizes", "sentence"),
    [
        (
            *("language_model", {"heads": 4}, {"tensor": 8}),
            "tensor is 8, but it has to divide the 192 hidden channels and the 4 heads of the model; 1, 2 or 4 would do",
        ),
        (
            *("diffusion", {"heads": 4, "grid": (1, 8, 8)}, {"tensor": 4, "context": 2}),
            "tensor is 4, but it has to divide the 256 hidden channels and, together with context 2, the 4 heads of the model; "
            "1 or 2 would do",
        ),
        (
            *("language_model", {"heads": 8, "grid": (1, 4, 5)}, {"context": 8}),
            "context is 8, but it has to divide the 20 tokens of a sequence and the 8 heads of the model; 1, 2 or 4 would do",
        ),
        (
            *("diffusion", {"heads": 8, "grid": (4, 6, 6)}, {"context": 2}),
            "context is 2, but it has to divide the 9 patches of a frame and the 8 heads of the model; 1 would do",
        ),
    ],
)
def test_the_numbers_that_would_do(family, changes, sizes, sentence):
    with pytest.raises(ConfigError) as error:
        on(family, changes, **sizes)
    assert str(error.value) == f"config.mesh.{sentence}"


@pytest.mark.parametrize(
    ("family", "grid", "tensor", "context"), [("language_model", (1, 4, 5), 2, 4), ("diffusion", (1, 8, 8), 1, 8)]
)
def test_all_heads_may_be_divided_and_no_further(family, grid, tensor, context):
    on(family, {"heads": 8, "grid": grid}, tensor=tensor, context=context)
    with pytest.raises(ConfigError, match=rf"tensor is {tensor + 1}, .* together with context {context}, the 8 heads"):
        on(family, {"heads": 8, "grid": grid}, tensor=tensor + 1, context=context)


def test_a_tokenizer_has_no_tensor_axis():
    config = defaults("vidtok")
    config.mesh.tensor = -1
    with pytest.raises(ConfigError, match=r"unknown key config\.mesh\.tensor"):
        validate(config)
