"""Computing in bfloat16 and recomputing activations changes how a step is computed, and hardly what comes out."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_generators import config_of

from tokjax.config import defaults, validate
from tokjax.generation.families import build as build_any
from tokjax.models.tokenizer import build
from tokjax.training.optimizers import make_optimizer
from tokjax.training.state import state_of
from tokjax.training.step import make_train_step


def a_step(judged=False, **changes):
    """State and metrics after a step of a small transformer, and the program that computes it."""
    config = defaults("omnitokenizer")
    config.model.update({"mode": "sound", "width": 32, "heads": 2, "head_width": 16, "patch": 4, "time_factor": 2})
    config.model.update({"encoder_blocks": "t", "decoder_blocks": "t", "temporal_depth": 1, "latent_channels": 4, **changes})
    config.optimizer.update({"ema_decay": 0.9, "learning_rate": 1e-3})
    if judged:
        config.discriminator.update({"kind": "omni_image", "width": 4, "layers": 1, "dtype": config.model.dtype})
        config.loss.update({"adversarial_weight": 0.5, "adaptive": True, "lecam_weight": 0.1, "log_variance": True})
    validate(config)
    model, optimizer = build(config.model), make_optimizer(config.optimizer, 10)
    state = jax.jit(lambda: state_of(model, optimizer, config))()
    video = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8, 3), np.uint8)
    lowered = jax.jit(make_train_step(model, optimizer, config)).lower(state, video)
    state, metrics = lowered.compile()(state, video)
    return state, {name: float(value) for name, value in metrics.items()}, lowered.as_text()


@pytest.mark.slow
@pytest.mark.parametrize("judged", [False, True])
def test_bfloat16_and_remat_keep_parameters_in_float32_and_the_loss_close(judged):
    _, expected, full = a_step(judged)
    state, metrics, program = a_step(judged, dtype="bfloat16", remat=True)
    assert "bf16" in program and "bf16" not in full
    for part in ("params", "ema"):
        assert {leaf.dtype for leaf in jax.tree.leaves(getattr(state, part))} == {jnp.dtype("float32")}
    moments = [leaf.dtype for leaf in jax.tree.leaves(state.optimizer) if leaf.ndim]
    assert moments and set(moments) == {jnp.dtype("float32")}
    if judged:
        learned = jax.tree.leaves((state.discriminator, state.loss))
        assert {leaf.dtype for leaf in learned if leaf.ndim} == {jnp.dtype("float32")}
    for name in ("loss", "kl", "gradient_norm", *(("discriminator_loss", "adaptive_weight") if judged else ())):
        np.testing.assert_allclose(metrics[name], expected[name], rtol=0.03, err_msg=name)
    assert metrics["loss"] != expected["loss"]


def a_step_on_tokens(family, **changes):
    """The same of a model of tokens whose parameters all have an effect."""
    config, rng = config_of(family, **changes), np.random.default_rng(0)
    config.optimizer.update({"ema_decay": 0.9, "learning_rate": 1e-3})
    validate(config)
    model, optimizer = build_any(config.model), make_optimizer(config.optimizer, 10)
    shapes = jax.eval_shape(partial(state_of, model, optimizer, config))
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    state = state.replace(params=jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.1, leaf.shape), leaf.dtype), state.params))
    shape = (4, *config.model.grid)
    tokens = rng.integers(0, 20, shape) if family == "language_model" else rng.normal(size=(*shape, 2)).astype(np.float32)
    lowered = jax.jit(make_train_step(model, optimizer, config)).lower(state, {"tokens": tokens, "label": np.zeros(4, int)})
    state, metrics = lowered.compile()(state, {"tokens": tokens, "label": np.zeros(4, int)})
    return state, {name: float(value) for name, value in metrics.items()}, lowered.as_text()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["language_model", "diffusion"])
def test_models_of_tokens_too(family):
    _, expected, full = a_step_on_tokens(family)
    state, metrics, program = a_step_on_tokens(family, dtype="bfloat16", remat=True)
    assert "bf16" in program and "bf16" not in full
    assert "optimization_barrier" in program and "optimization_barrier" not in full  # what is recomputed lies behind one
    leaves = jax.tree.leaves((state.params, state.ema, state.optimizer))
    assert {leaf.dtype for leaf in leaves if leaf.ndim} == {jnp.dtype("float32")}
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose(metrics[name], expected[name], rtol=0.03, err_msg=name)
    assert metrics["loss"] != expected["loss"] and metrics["nonfinite"] == 0
