"""Every row of the experiment files is the model that was published: parameters, latent shapes, compression."""

import math

import jax
import jax.numpy as jnp
import pytest

from tokjax.config import from_json, to_json, validate
from tokjax.experiment import load_experiment
from tokjax.models.tokenizer import build

# Parameters of encoder and decoder, counted in the published PyTorch code; latents [t,h,w,c] of a clip 17x256x256 (Table 5).
PUBLISHED = {
    "kl_causal_488_4chn": (69_258_122, 88_193_541, (5, 32, 32, 4)),
    "kl_causal_488_8chn": (69_368_722, 88_248_837, (5, 32, 32, 8)),
    "kl_causal_488_16chn": (69_589_922, 88_359_429, (5, 32, 32, 16)),
    "kl_causal_41616_4chn": (89_521_802, 109_446_149, (5, 16, 16, 4)),
    "kl_causal_444_4chn": (69_110_538, 85_833_733, (5, 64, 64, 4)),
    "kl_causal_288_8chn": (62_290_321, 86_479_108, (9, 32, 32, 8)),
    "fsq_causal_488_4096": (69_202_822, 88_193_541, (5, 32, 32, 4)),
    "fsq_causal_488_32768": (69_216_647, 88_207_365, (5, 32, 32, 5)),
    "fsq_causal_488_262144": (69_230_472, 88_221_189, (5, 32, 32, 6)),
    "fsq_causal_41616_262144": (89_494_152, 109_473_797, (5, 16, 16, 6)),
}


@pytest.fixture(autouse=True)
def in_the_project(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)


def _shapes(model, video):
    """(parameters, reconstruction, what was encoded) as shapes."""
    variables = jax.eval_shape(model.init, jax.random.key(0), video)
    return variables["params"], *jax.eval_shape(model.apply, variables, video)


@pytest.mark.parametrize("variant", PUBLISHED)
def test_the_rows_of_vidtok_are_the_published_models(variant):
    config = load_experiment(f"experiments/vidtok.py:{variant}")
    validate(config)
    encoder, decoder, latent_shape = PUBLISHED[variant]
    model, video = build(config.model), jax.ShapeDtypeStruct((1, 17, 256, 256, 3), jnp.float32)
    params, reconstruction, quantized = _shapes(model, video)
    count = {half: sum(leaf.size for leaf in jax.tree.leaves(params[half])) for half in params}
    assert count == {"encoder": encoder, "decoder": decoder}
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    assert reconstruction.shape == video.shape
    assert quantized.latents.shape == (1, *latent_shape) == (1, *model.latent_shape(17, 256, 256))
    if variant.startswith("fsq"):
        assert quantized.indices.shape == (1, *latent_shape[:3])
        assert model.quantizer.codebook_size == int(variant.rpartition("_")[2])


def test_no_row_is_untested_and_the_first_is_the_default():
    import runpy

    rows = runpy.run_path("experiments/vidtok.py")["VARIANTS"]
    assert rows.keys() == PUBLISHED.keys()
    assert (
        load_experiment("experiments/vidtok.py").to_dict()
        == load_experiment(f"experiments/vidtok.py:{next(iter(rows))}").to_dict()
    )
    assert all(len(row.paper) == 4 for row in rows.values())


def test_the_quickstart_is_valid_and_small():
    config = load_experiment("experiments/quickstart.py")
    validate(config)
    assert from_json(to_json(config)).to_dict() == config.to_dict()
    stream = config.data.train.video
    video = jax.ShapeDtypeStruct((1, stream.frames, stream.resolution, stream.resolution, 3), jnp.float32)
    params, reconstruction, _ = _shapes(build(config.model), video)
    assert reconstruction.shape == video.shape
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) < 5_000_000
