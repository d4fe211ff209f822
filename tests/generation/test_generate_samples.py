"""What is refused or asked before samples are drawn, what must not come out of it, and classes beside first frames."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from tiny_generators import config_of, keys, model_of
from tiny_tokenizer import tiny_tokenizer

from tokjax.cli import main
from tokjax.generation.filters import Drawing
from tokjax.generation.generate import Request, _drawn, asks_what_was_never_trained, first_codes, generate
from tokjax.generation.latent_sampling import Denoising
from tokjax.generation.package import TokenModel
from tokjax.generation.token_sampling import sample_codes


def token_model(family, **changes):
    module, variables = model_of(family, **changes)
    return TokenModel(module, variables, config_of(family, **changes), 0, "")


def test_a_class_counts_beside_first_frames():
    published = {"mode": "published", "block": "published", "classes": 3, "start_token": True}
    model = token_model("language_model", **published)
    given, labels, how = jnp.arange(6)[None], jnp.array([0, 1, 2]), Drawing(guidance=0.5)
    drawn = _drawn(model, model.variables, labels, keys(3), how, given).reshape(3, -1)
    np.testing.assert_array_equal(drawn[:, :6], jnp.repeat(given, 3, axis=0))
    expected = sample_codes(model.module, model.variables, labels, keys(3), how, jnp.repeat(given, 3, axis=0))
    np.testing.assert_array_equal(drawn, expected)
    without = sample_codes(model.module, model.variables, labels, keys(3), how, jnp.repeat(given, 3, axis=0), with_start=False)
    assert (drawn != without).any()


def test_first_frames_must_fill_their_codes():
    """A causal tokenizer of time factor 2 pads 2 frames to 3, and the third would be a copy of the second."""
    model = SimpleNamespace(module=SimpleNamespace(grid=(3, 8, 8)))
    frames = np.zeros((1, 3, 16, 16, 3), np.uint8)
    with pytest.raises(ValueError, match="2 first frames fill no whole codes of this tokenizer, 3 would"):
        first_codes(model, tiny_tokenizer("fsq"), frames[:, :2])
    assert first_codes(model, tiny_tokenizer("fsq"), frames).shape == (1, 2 * 8 * 8)


def test_latents_that_are_not_finite_are_no_pictures():
    model = token_model("diffusion", grid=(1, 8, 8), temporal=False)
    broken = TokenModel(model.module, {"params": model.variables["params"] | {"network": None}}, model.config, 0, "")
    network = model.variables["params"]["network"]
    final = network["final"] | {"linear": {name: value * jnp.nan for name, value in network["final"]["linear"].items()}}
    broken.variables["params"]["network"] = network | {"final": final}
    with pytest.raises(ValueError, match="samples 0 to 1 have latents that are not finite"):
        list(generate(broken, tiny_tokenizer("kl"), Request([-1, -1], 0, 8, Denoising(steps="2"))))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fps", "0"], "--fps is 0; give 0.01 to 1000"),
        (["--fps", "inf"], "--fps is inf; give 0.01 to 1000"),
        (["--seed", str(2**64)], "--seed is 18446744073709551616; give a number from 0 to 4294967295"),
        (["--given", "0"], "--given is 0; keep at least one frame"),
        (["--classes", "3-1"], "--classes '3-1' is no list of classes"),
        (["--count", "0"], "--count is 0; ask for at least one sample"),
    ],
)
def test_words_that_make_no_sense_are_refused_before_anything_is_loaded(words, message, tmp_path, capsys):
    assert main(["generate", "no_model", "--tokenizer", "no_tokenizer", "-o", str(tmp_path / "out"), *words]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "how", "label", "asks"),
    [
        ({"classes": 3, "condition_dropout": 0.0}, Drawing(guidance=1.0), 0, True),
        ({"classes": 3, "condition_dropout": 0.0}, Drawing(), -1, True),
        ({"classes": 3, "condition_dropout": 0.0}, Drawing(), 0, False),
        ({"classes": 3}, Drawing(guidance=1.0), -1, False),
        ({"condition_dropout": 0.0}, Drawing(), -1, False),
        ({"classes": 3, "mode": "published", "block": "published", "start_token": True}, Drawing(guidance=1.0), 0, True),
    ],
)
def test_what_a_model_was_never_trained_for(changes, how, label, asks):
    assert asks_what_was_never_trained(token_model("language_model", **changes), Request([label], 0, 1, how)) is asks
