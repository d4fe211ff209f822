"""Every row of the experiment files is the model that was published: parameters, latent shapes, compression, cost."""

import math
import runpy

import jax
import jax.numpy as jnp
import pytest

from tokjax.config import from_json, to_json, validate
from tokjax.experiment import load_experiment
from tokjax.models.convolution import CONVOLUTION_FORM
from tokjax.models.cost import count_flops
from tokjax.models.tokenizer import build
from tokjax.training.stages import stages_of

# Parameters of encoder and decoder, counted in the published PyTorch code; latents [t,h,w,c] of a clip 17x256x256, 16x256x256 for
# non-causal models (Table 5) and 33x256x256 for v1.1.
PUBLISHED = {
    "kl_causal_488_4chn": (69_258_122, 88_193_541, (5, 32, 32, 4)),
    "kl_causal_488_8chn": (69_368_722, 88_248_837, (5, 32, 32, 8)),
    "kl_causal_488_16chn": (69_589_922, 88_359_429, (5, 32, 32, 16)),
    "kl_causal_41616_4chn": (89_521_802, 109_446_149, (5, 16, 16, 4)),
    "kl_causal_444_4chn": (69_110_538, 85_833_733, (5, 64, 64, 4)),
    "kl_causal_288_8chn": (62_290_321, 86_479_108, (9, 32, 32, 8)),
    "kl_noncausal_488_4chn": (69_258_122, 88_193_541, (4, 32, 32, 4)),
    "kl_noncausal_488_16chn": (69_589_922, 88_359_429, (4, 32, 32, 16)),
    "kl_noncausal_41616_4chn": (89_521_802, 109_446_149, (4, 16, 16, 4)),
    "kl_noncausal_41616_16chn": (89_853_602, 109_612_037, (4, 16, 16, 16)),
    "fsq_causal_488_4096": (69_202_822, 88_193_541, (5, 32, 32, 4)),
    "fsq_causal_488_32768": (69_216_647, 88_207_365, (5, 32, 32, 5)),
    "fsq_causal_488_262144": (69_230_472, 88_221_189, (5, 32, 32, 6)),
    "fsq_causal_41616_262144": (89_494_152, 109_473_797, (5, 16, 16, 6)),
    "fsq_noncausal_488_262144": (69_230_472, 88_221_189, (4, 32, 32, 6)),
    "fsq_noncausal_41616_262144": (89_494_152, 109_473_797, (4, 16, 16, 6)),
    "kl_causal_488_4chn_v1_1": (69_258_122, 88_193_541, (9, 32, 32, 4)),
    "kl_causal_488_16chn_v1_1": (69_589_922, 88_359_429, (9, 32, 32, 16)),
    "kl_causal_288_8chn_v1_1": (62_290_321, 86_479_108, (17, 32, 32, 8)),
    "kl_causal_41616_16chn_v1_1": (89_853_602, 109_612_037, (9, 16, 16, 16)),
    "fsq_causal_488_32768_v1_1": (69_216_647, 88_207_365, (9, 32, 32, 5)),
    "fsq_causal_888_32768_v1_1": (69_659_144, 95_285_766, (5, 32, 32, 5)),
    "fsq_causal_41616_262144_v1_1": (89_494_152, 109_473_797, (9, 16, 16, 6)),
}
# Table 2: millions of parameters and, in 10^12, multiply-accumulates for 17x256x256.
ARCHITECTURES = {
    "kl_causal_488_4chn": (157.45, 10.35),
    "kl_causal_488_4chn_full_3d": (245.98, 16.98),
    "kl_causal_488_4chn_no_blender": (141.72, 7.16),
    "kl_causal_488_4chn_no_3d": (126.01, 10.18),
}


@pytest.fixture(autouse=True)
def in_the_project(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)


@pytest.fixture(autouse=True)
def as_on_accelerators():
    """Shapes are the same in every form; costs are of this one, which is also quicker to trace."""
    token = CONVOLUTION_FORM.set("direct")
    yield
    CONVOLUTION_FORM.reset(token)


def _shapes(model, video):
    """(parameters, reconstruction, what was encoded) as shapes."""
    result, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), video)
    return variables["params"], *result


@pytest.mark.parametrize("variant", PUBLISHED)
def test_the_rows_of_vidtok_are_the_published_models(variant):
    config = load_experiment(f"experiments/vidtok.py:{variant}")
    validate(config)
    encoder, decoder, latent_shape = PUBLISHED[variant]
    frames = 16 if "noncausal" in variant else 33 if "v1_1" in variant else 17
    assert config.data.train.video.frames == config.data.validation.videos.frames == frames
    assert config.data.train.video.batch == (8 if "v1_1" in variant else 16)
    model, video = build(config.model), jax.ShapeDtypeStruct((1, frames, 256, 256, 3), jnp.float32)
    params, reconstruction, quantized = _shapes(model, video)
    count = {half: sum(leaf.size for leaf in jax.tree.leaves(params[half])) for half in params}
    assert count == {"encoder": encoder, "decoder": decoder}
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    assert reconstruction.shape == video.shape
    assert quantized.latents.shape == (1, *latent_shape) == (1, *model.latent_shape(frames, 256, 256))
    if variant.startswith("fsq"):
        assert quantized.indices.shape == (1, *latent_shape[:3])
        assert model.quantizer.codebook_size == int(variant.removesuffix("_v1_1").rpartition("_")[2])


@pytest.mark.parametrize("variant", ARCHITECTURES)
def test_the_architectures_of_table_2_have_the_published_size_and_cost(variant):
    config = load_experiment(f"experiments/vidtok.py:{variant}")
    validate(config)
    config.model.remat = False
    model, video = build(config.model), jax.ShapeDtypeStruct((1, 17, 256, 256, 3), jnp.float32)
    params, *_ = _shapes(model, video)
    millions, trillions = ARCHITECTURES[variant]
    assert round(sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6, 2) == millions
    flops = count_flops(lambda params, video: model.apply({"params": params}, video)[0], params, video)
    assert round(flops / 2e12, 2) == trillions


RECIPES = {"kl_causal_488_4chn_two_stages": "kl_causal_488_4chn", "fsq_causal_488_262144_two_stages": "fsq_causal_488_262144"}
RECIPES["kl_causal_488_4chn_fine_tuned"] = "kl_causal_488_4chn"


@pytest.mark.parametrize("variant", RECIPES)
def test_the_recipes_train_the_models_of_other_rows(variant):
    config, other = (load_experiment(f"experiments/vidtok.py:{name}") for name in (variant, RECIPES[variant]))
    validate(config)
    assert config.model == other.model and config.discriminator == other.discriminator
    if variant.endswith("two_stages"):
        small, large = stages_of(config)
        assert (small.end, large.end) == (50_000, 80_000) and large.config.optimizer.freeze == ("encoder",)
        clips = [(one.config.data.train.video.resolution, one.config.data.train.video.batch) for one in (small, large)]
        assert clips == [(128, 16), (256, 8)] and small.config.optimizer.freeze == ()


def test_vidtok_has_the_published_losses():
    config = load_experiment("experiments/vidtok.py")
    loss = config.loss
    assert (loss.perceptual_weight, loss.adversarial_weight, loss.adaptive_limit, loss.lecam_weight) == (1.0, 0.2, 1e4, 0.005)
    assert loss.adaptive and loss.log_variance and (loss.adversarial, loss.reduction) == ("hinge_cross_entropy", "frame")
    assert config.optimizer.learning_rate == config.discriminator_optimizer.learning_rate == 1e-5
    assert config.optimizer.clip_norm == config.discriminator_optimizer.clip_norm == 20.0
    kinds = {load_experiment(f"experiments/vidtok.py:{name}").loss.regularization_weight for name in PUBLISHED if "fsq" in name}
    assert loss.regularization_weight == 1e-6 and kinds == {1.0}


def test_no_row_is_untested_and_the_first_is_the_default():
    rows = runpy.run_path("experiments/vidtok.py")["VARIANTS"]
    assert rows.keys() == PUBLISHED.keys() | ARCHITECTURES.keys() | RECIPES.keys()
    assert load_experiment("experiments/vidtok.py") == load_experiment(f"experiments/vidtok.py:{next(iter(rows))}")
    unpublished = {name for name, row in rows.items() if row.published is None}
    assert unpublished == {"kl_causal_488_4chn_v1_1", "fsq_causal_41616_262144_v1_1", "kl_causal_488_4chn_fine_tuned"}
    assert all(len(row.published) == 4 for row in rows.values() if row.published)


def test_the_quickstart_is_valid_and_small():
    config = load_experiment("experiments/quickstart.py")
    validate(config)
    assert from_json(to_json(config)).to_dict() == config.to_dict()
    stream = config.data.train.video
    video = jax.ShapeDtypeStruct((1, stream.frames, stream.resolution, stream.resolution, 3), jnp.float32)
    params, reconstruction, _ = _shapes(build(config.model), video)
    assert reconstruction.shape == video.shape
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) < 5_000_000
