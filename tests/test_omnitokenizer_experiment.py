"""The rows of experiments/omnitokenizer.py are the published models: parameters, latent shapes, recipe."""

import runpy

import jax
import jax.numpy as jnp
import pytest

from tokjax.config import from_json, to_json, validate
from tokjax.experiment import load_experiment
from tokjax.models.tokenizer import build

# Parameters that are used, codes, and the latents of an image and of a clip of 17 frames, both 256x256. The original holds more
# parameters than it uses.
PUBLISHED = {
    "image_only": (52_770_312, 8192, (1, 32, 32, 8), (9, 32, 32, 8)),
    "joint_vq": (51_554_904, 8192, (1, 32, 32, 8), (5, 32, 32, 8)),
    "joint_kl": (51_559_008, None, (1, 32, 32, 8), (5, 32, 32, 8)),
}


@pytest.fixture(autouse=True)
def in_the_project(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)


def count_parameters(model):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes(model)["params"]))


def shapes(model):
    side = model.space_factor
    return jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 1, side, side, 3), jnp.float32))


@pytest.mark.parametrize("variant", PUBLISHED)
def test_the_rows_are_the_published_models(variant):
    config = load_experiment(f"experiments/omnitokenizer.py:{variant}")
    validate(config)
    assert from_json(to_json(config)).to_dict() == config.to_dict()
    count, codes, *latent_shapes = PUBLISHED[variant]
    model = build(config.model)
    assert count_parameters(model) == count
    assert model.quantizer.codebook_size == codes
    for frames, latent_shape in zip((1, 17), latent_shapes, strict=True):
        video = jax.ShapeDtypeStruct((1, frames, 256, 256, 3), jnp.float32)
        reconstruction, quantized = jax.eval_shape(model.apply, shapes(model), video)
        assert reconstruction.shape == video.shape
        assert quantized.latents.shape == (1, *latent_shape) == (1, *model.latent_shape(frames, 256, 256))


def test_the_released_face_models_have_the_parameters_of_fused_attention():
    config = load_experiment("experiments/omnitokenizer.py:image_only")
    config.model.attention = "fused"
    assert count_parameters(build(config.model)) == 51_160_536


def test_the_small_row_is_valid_and_small():
    config = load_experiment("experiments/omnitokenizer.py:tiny")
    validate(config)
    model = build(config.model)
    assert count_parameters(model) < 2_000_000
    for split in ("train", "validation"):
        for one in config.data[split].values():
            assert model.pad_sides(one.resolution, one.resolution) == (one.resolution,) * 2
            assert model.pad_frames(one.frames) == (0, 0)


def test_no_row_is_untested():
    assert runpy.run_path("experiments/omnitokenizer.py")["VARIANTS"].keys() == {*PUBLISHED, "tiny"}
