"""OmniTokenizer trains with the step that all models share: its loss falls, its codebook follows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_omnitokenizer import tiny_config

from tokjax.models.tokenizer import build
from tokjax.training.optimizers import make_optimizer
from tokjax.training.state import initial_state
from tokjax.training.step import make_train_step


def waves(frames):
    """uint8 [4,frames,8,8,3]: waves that move."""
    y, x = np.mgrid[:8, :8]
    time, clips = np.arange(frames)[None, :, None, None], np.arange(4)[:, None, None, None]
    wave = np.sin(0.8 * x + 0.3 * y * (clips + 1) + 0.5 * time) / 2 + 0.5
    return jnp.asarray(wave[..., None] * np.array([255, 128, 30]), jnp.uint8)


@pytest.mark.slow
def test_training():
    config = tiny_config("vq", mode="sound", encoder_blocks="w", decoder_blocks="t")
    config.loss.update({"reconstruction_weight": 1 / 192, "regularization_weight": 1.0})
    config.optimizer.update({"learning_rate": 3e-3, "clip_norm": 1.0})
    model, optimizer = build(config.model), make_optimizer(config.optimizer, 40)
    state = initial_state(model, optimizer, 0, ema=False)
    assert set(state.model_state) == {"codebook"} and not state.model_state["codebook"]["quantizer"]["initialized"]
    step, losses = jax.jit(make_train_step(model, optimizer, config)), []
    for _ in range(30):
        state, metrics = step(state, waves(3))
        losses.append(float(metrics["loss"]))
    codebook = state.model_state["codebook"]["quantizer"]
    assert bool(codebook["initialized"]) and int(state.nonfinite) == 0
    # Each batch adds a hundredth of its 4 x 2 x 16 tokens to the moving counts, which begin at 1 for each of the 16 codes.
    np.testing.assert_allclose(codebook["counts"].sum(), 128 + (16 - 128) * 0.99**30, rtol=1e-4)
    assert np.mean(losses[-4:]) < 0.6 * np.mean(losses[:4])
