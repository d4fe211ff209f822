"""The training step on a model of two matrices and a real quantizer, so that every number can be had by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokjax.config import defaults
from tokjax.quantizers.entropy import GridLosses
from tokjax.quantizers.fsq import FSQ
from tokjax.quantizers.kl import KL
from tokjax.training.optimizers import make_optimizer
from tokjax.training.players import Carried, Learned, Turn
from tokjax.training.state import initial_state
from tokjax.training.step import make_loss, make_train_step


class Tiny(nn.Module):
    quantizer: object
    time_factor = space_factor = 1

    def pad_frames(self, frames):
        return 0, 0

    def pad_sides(self, height, width):
        return height, width

    @nn.compact
    def __call__(self, video, rng=None, train=False, step=0):
        z = nn.Dense(2 * self.quantizer.moments_per_latent, name="encoder")(video)
        quantized = self.quantizer(z, rng=rng, train=train, step=step)
        return nn.Dense(3, name="decoder")(quantized.latents), quantized


# The entropy of the mean code is of a whole batch, so it is not the mean over parts: left out.
WITHOUT_ENTROPY = FSQ(levels=(5, 4), losses=GridLosses(entropy_weight=0.0))


def make(quantizer=WITHOUT_ENTROPY, accumulation=1, **optimizer):
    config = defaults()
    config.optimizer.update({"learning_rate": 1e-2, "ema_decay": 0.9, **optimizer})
    config.loss.regularization_weight = 0.3
    config.training.accumulation = accumulation
    model = Tiny(quantizer)
    transform = make_optimizer(config.optimizer, 100)
    state = initial_state(model, transform, 0, config.optimizer.ema_decay > 0, config.optimizer.freeze)
    return model, config, state, jax.jit(make_train_step(model, transform, config))


def clips(seed=0, batch=8):
    return np.random.default_rng(seed).integers(0, 256, (batch, 3, 4, 4, 3), np.uint8)


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulation_gives_the_gradients_of_the_whole_batch(parts):
    *_, state, whole = make()
    *_, in_parts = make(accumulation=parts)
    expected, got = whole(state, clips()), in_parts(state, clips())
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(got), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-7)


def test_parts_of_a_batch_get_noise_of_their_own():
    """Two equal halves: with one noise for both, the gradient of the whole would be that of a half."""
    model, config, state, step = make(KL(), accumulation=2)
    half = clips(batch=4)
    _, metrics = step(state, np.repeat(half, 2, axis=0))  # strided parts: each is `half`
    keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), 0), 2)
    loss, carried = make_loss(model, config), Carried({}, {}, {})
    each = [loss(Learned(state.params), carried, Turn(jnp.asarray(half), key, 0))[0] for key in keys]
    assert abs(each[0] - each[1]) > 1e-4
    np.testing.assert_allclose(metrics["loss"], np.mean(each), rtol=1e-5)


def test_the_loss_is_what_the_config_says():
    *_, state, step = make()
    video = clips()
    _, metrics = step(state, video)
    reconstruction, quantized = Tiny(WITHOUT_ENTROPY).apply({"params": state.params}, video / 127.5 - 1, train=True)
    error = np.asarray(video / 127.5 - 1 - reconstruction)
    distance = np.abs(error).sum(axis=(2, 3, 4)).mean()
    np.testing.assert_allclose(metrics["reconstruction"], distance, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], distance + 0.3 * quantized.losses["regularization"], rtol=1e-5)
    shown = (video / 127.5 - 1 - np.clip(reconstruction, -1, 1)) / 2
    np.testing.assert_allclose(metrics["psnr"], np.mean(-10 * np.log10((shown**2).mean(axis=(2, 3, 4)) + 1e-8)), rtol=1e-4)


def test_the_use_of_the_codes_is_that_of_the_whole_batch():
    """Counted by hand; half of the clips are black, so the parts of a batch use the codes differently."""
    video = clips()
    video[::2] = 0
    for parts in (1, 2):
        *_, state, step = make(accumulation=parts)
        _, metrics = step(state, video)
        _, quantized = Tiny(WITHOUT_ENTROPY).apply({"params": state.params}, video / 127.5 - 1)
        counts = np.bincount(np.ravel(quantized.indices), minlength=20)
        p = counts / counts.sum()
        assert 2 < (counts > 0).sum() < 20
        np.testing.assert_allclose(metrics["codebook_usage"], (counts > 0).mean(), rtol=1e-6)
        np.testing.assert_allclose(metrics["codebook_perplexity"], np.exp(-np.sum(p * np.log(p + 1e-10))), rtol=1e-4)
    *_, state, step = make(KL())
    assert "codebook_usage" not in step(state, video)[1]


def test_a_batch_that_is_not_finite_changes_nothing_but_the_counts():
    *_, state, step = make()
    state, _ = step(state, clips().astype(np.float32) / 127.5 - 1)
    broken = clips().astype(np.float32) / 127.5 - 1
    broken[3, 1, 2, 2, 0] = np.nan
    for count in (1, 2):
        after, metrics = step(state, broken)
        assert not np.isfinite(metrics["loss"])
        for part in ("params", "optimizer", "ema"):
            assert bits(getattr(after, part)) == bits(getattr(state, part))
        assert int(after.nonfinite) == int(metrics["nonfinite"]) == count
        assert int(after.step) == int(state.step) + 1
        state = after
    after, metrics = step(state, clips(1).astype(np.float32) / 127.5 - 1)
    assert int(after.nonfinite) == int(metrics["nonfinite"]) == 0
    for part in ("params", "optimizer", "ema"):
        assert bits(getattr(after, part)) != bits(getattr(state, part))


def test_the_average_follows_the_parameters_by_the_warm_up_rule():
    *_, state, step = make()
    expected = jax.tree.map(np.asarray, state.params)
    for k in range(1, 5):
        state, _ = step(state, clips(k))
        rate = 1 - min(0.9, (1 + k) / (10 + k))
        expected = jax.tree.map(lambda shadow, new, rate=rate: shadow - rate * (shadow - np.asarray(new)), expected, state.params)
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(state.ema), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-7)
    *_, without, step = make(ema_decay=0.0)
    assert step(without, clips())[0].ema is None


def test_the_gradient_norm_is_told_before_clipping_and_the_step_is_clipped():
    size, norms = {}, {}
    for limit in (0.0, 0.5):  # with b1 = 0 and this eps Adam's first update is minus the gradient
        *_, state, step = make(clip_norm=limit, b1=0.0, eps=1e6, learning_rate=1e6)
        after, metrics = step(state, clips())
        moved = [np.ravel(new - old) for new, old in zip(*map(jax.tree.leaves, (after.params, state.params)), strict=True)]
        size[limit], norms[limit] = np.linalg.norm(np.concatenate(moved)), float(metrics["gradient_norm"])
    assert norms[0.0] == norms[0.5] > 1
    np.testing.assert_allclose(size[0.0], norms[0.0], rtol=1e-3)
    np.testing.assert_allclose(size[0.5], 0.5, rtol=1e-3)
