"""The rows of experiments/generation.py: the published parameter counts, and valid configs."""

import runpy

import jax
import pytest

from tokjax.config import from_json, to_json, validate
from tokjax.experiment import load_experiment
from tokjax.generation.families import build

# Counted in the published code; of diffusion without the fixed tables of places, 256 x 1152 for DiT and 261 x 1152 for Latte.
PARAMETERS = {
    "imagenet_class": 709_774_848,
    "ucf_class": 713_304_576,
    "k600_frames": 712_989_696,
    "dit_xl_2": 674_890_048,
    "latte_xl_2": 673_854_400,
}
MILLIONS = {"imagenet_class": 709.77, "ucf_class": 713.30, "k600_frames": 712.99, "dit_xl_2": 675.18, "latte_xl_2": 674.16}


@pytest.fixture(autouse=True)
def in_the_project(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)


def parameters(config):
    model = build(config.model)
    shapes = jax.eval_shape(model.init, jax.random.key(0), model.example())
    return model, sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


@pytest.mark.parametrize("variant", PARAMETERS)
def test_the_rows_are_the_published_models(variant):
    config = load_experiment(f"experiments/generation.py:{variant}")
    validate(config)
    model, count = parameters(config)
    assert count == PARAMETERS[variant]
    if config.model.family == "diffusion":
        place, moment = model.network.tables()
        count += place.size + moment.size * config.model.temporal
    assert round(count / 1e6, 2) == MILLIONS[variant]
    lengths = {"imagenet_class": 1025, "ucf_class": 5121, "k600_frames": 5120}
    assert variant not in lengths or model.slots == lengths[variant]


@pytest.mark.parametrize("variant", ["tiny_codes", "tiny_latents"])
def test_the_tiny_rows_are_valid_and_small(variant):
    config = load_experiment(f"experiments/generation.py:{variant}")
    validate(config)
    assert from_json(to_json(config)).to_dict() == config.to_dict()
    assert parameters(config)[1] < 2_000_000


def test_no_row_is_untested_and_the_first_command_has_a_default():
    rows = runpy.run_path("experiments/generation.py")["VARIANTS"]
    assert rows.keys() == PARAMETERS.keys() | {"tiny_codes", "tiny_latents"}
    assert load_experiment("experiments/generation.py") == load_experiment("experiments/generation.py:tiny_codes")
