"""LFQ against its definition, written out in numpy in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokjax.quantizers import LFQ, GridLosses

BITS = 5


@pytest.fixture(scope="module")
def z():
    return np.asarray(0.02 * jax.random.normal(jax.random.key(4), (2, 3, 4, 4, BITS)))


def clamped_entropy(p):
    return -(p * np.log(np.maximum(p, 1e-5))).sum(-1)


def written_out(z, gamma):
    """Entropy of a position's code, of the mean code, and commitment."""
    z = np.float64(z).reshape(-1, BITS)
    codes = np.array(list(itertools.product([-1, 1], repeat=BITS)))
    logits = 200 * z @ codes.T
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return clamped_entropy(p).mean(), clamped_entropy(p.mean(0)), ((z - np.where(z > 0, 1, -1)) ** 2).mean()


def test_losses(z):
    per_position, of_mean, commitment = written_out(z, 0.7)
    losses = LFQ(2**BITS, GridLosses(0.1, 1000, 3.0, 0.25, diversity_gamma=0.7))(z, train=True, step=250).losses
    np.testing.assert_allclose(losses["per_sample_entropy"], per_position, rtol=1e-5)
    np.testing.assert_allclose(losses["codebook_entropy"], of_mean, rtol=1e-5)
    np.testing.assert_allclose(losses["commitment"], commitment, rtol=1e-5)
    total = 0.1 * 2.5 * (per_position - 0.7 * of_mean) + 0.25 * commitment
    np.testing.assert_allclose(losses["regularization"], total, rtol=1e-5)
    none = LFQ(2**BITS, GridLosses(0.0, commitment_weight=0.0))
    assert none(z, train=True).losses["regularization"] == 0 and none(z).losses == {}


def test_codes_are_signs_and_indices_their_bits(z):
    result = LFQ(2**BITS)(z)
    np.testing.assert_allclose(result.latents, np.where(z > 0, 1, -1), atol=1e-6)
    np.testing.assert_array_equal(result.indices, sum((z[..., i] > 0) * 2**i for i in range(BITS)))
    np.testing.assert_array_equal(LFQ(2**BITS).indices_to_latents(result.indices), np.where(z > 0, 1, -1))
    assert LFQ(8)(jnp.zeros((1, 1, 1, 1, 3))).indices.item() == 0


def test_every_code_round_trips():
    indices = jnp.arange(2**18).reshape(1, 1, 512, 512)
    quantizer = LFQ(2**18)
    np.testing.assert_array_equal(quantizer(quantizer.indices_to_latents(indices)).indices, indices)


def test_gradients_pass_straight_through(z):
    weights = jnp.arange(z.size, dtype=jnp.float32).reshape(z.shape)
    gradient = jax.grad(lambda z: jnp.sum(weights * LFQ(2**BITS)(z).latents))(jnp.asarray(z))
    np.testing.assert_array_equal(gradient, weights)
