"""The rows of experiments/omnitokenizer.py are the published models: parameters, latent shapes, recipe."""

import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokjax.config import from_json, to_json, validate
from tokjax.conversion.omnitokenizer import to_torch
from tokjax.experiment import load_experiment
from tokjax.models.tokenizer import build
from tokjax.training.stages import stages_of

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


@pytest.mark.parametrize(("variant", "trained"), [("image_only", 54_923_848), ("joint_vq", 53_708_440), ("joint_kl", 53_712_544)])
def test_what_is_written_for_the_original_has_all_its_parameters(variant, trained):
    """Those that it never reads too: 312 of its 402 tensors are the tokenizer, 90 are discriminators and perceptual network."""
    model = build(load_experiment(f"experiments/omnitokenizer.py:{variant}").model)
    zeros = jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), shapes(model))
    state = to_torch(zeros, model)
    buffers = (".beta", ".relative_position_index")
    found = sum(v.size for name, v in state.items() if not name.endswith(buffers) and not name.startswith("codebook."))
    assert found == trained
    assert len(state) == 312 + (6 * 6 if variant == "image_only" else 0)  # biases of 6 blocks along space


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
    assert runpy.run_path("experiments/omnitokenizer.py")["VARIANTS"].keys() == {*PUBLISHED, "three_stages", "tiny"}


def test_the_three_stages_are_the_rows():
    config = load_experiment("experiments/omnitokenizer.py:three_stages")
    validate(config)
    for found, name in zip(stages_of(config), PUBLISHED, strict=True):
        row, own = load_experiment(f"experiments/omnitokenizer.py:{name}"), found.config
        for section in ("loss", "discriminator", "optimizer", "discriminator_optimizer", "training"):
            assert own[section] == row[section], (name, section)
        unused = {"codebook_size", "l2_codes", "ema_decay", "codebook_weight", "data_init"} if name == "joint_kl" else set()
        ours, theirs = (one.model.to_dict() for one in (own, row))
        quantizers = [{key: value for key, value in one.pop("quantizer").items() if key not in unused} for one in (ours, theirs)]
        assert quantizers[0] == quantizers[1] and ours | {"init": ""} == theirs | {"init": ""}
        drawn = {key: one.weight for key, one in own.data.train.items() if one.weight}
        assert drawn == {key: one.weight for key, one in row.data.train.items()}


def test_the_published_losses_and_rates():
    image, joint = (load_experiment(f"experiments/omnitokenizer.py:{name}") for name in ("image_only", "joint_vq"))
    assert (image.loss.reconstruction_weight, image.loss.perceptual_weight, image.loss.feature_matching_weight) == (2.0, 4.0, 4.0)
    assert (image.discriminator.kind, joint.discriminator.kind) == ("omni_image", "omni_video")
    assert (image.loss.image_weight, joint.loss.video_weight) == (0.01, 0.01)
    rates = [(one.learning_rate, one.learning_rate_min) for one in (image.discriminator_optimizer, joint.discriminator_optimizer)]
    np.testing.assert_allclose(rates, [(1e-4, 5e-6), (5e-6, 5e-6)])
    assert (image.training.batches_per_update, joint.training.batches_per_update) == (1, 2)
