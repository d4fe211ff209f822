"""VQ: lookups by brute force, losses and gradients in closed form, when the codebook learns and from what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokjax.quantizers import VQ, codebook
from tokjax.quantizers.codebook import nearest_codes, take_from


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def by_brute_force(z, embeddings):
    return np.argmin(((np.float64(z)[:, None] - np.float64(embeddings)) ** 2).sum(-1), axis=1)


@pytest.mark.parametrize("at_once", [2**25, 700, 64, 1])
def test_nearest_codes_in_turns_of_any_size(monkeypatch, at_once):
    monkeypatch.setattr(codebook, "DISTANCES_AT_ONCE", at_once)
    z, embeddings = normal(0, 60, 4), normal(1, 37, 4)
    indices = nearest_codes(z, embeddings)
    assert indices.dtype == jnp.int32
    np.testing.assert_array_equal(indices, by_brute_force(z, embeddings))


@pytest.mark.parametrize("at_once", [2**25, 12])
def test_of_equal_codes_the_first_is_taken(monkeypatch, at_once):
    monkeypatch.setattr(codebook, "DISTANCES_AT_ONCE", at_once)
    embeddings = jnp.array([[5.0], [1.0], [-1.0], [1.0], [5.0]])
    np.testing.assert_array_equal(nearest_codes(jnp.array([[1.0], [0.0], [9.0], [4.0]]), embeddings), [1, 1, 0, 0])


def test_distances_of_many_codes_do_not_all_live_at_once():
    shapes = jax.ShapeDtypeStruct((10240, 8), jnp.float32), jax.ShapeDtypeStruct((2**18, 8), jnp.float32)
    memory = jax.jit(nearest_codes).lower(*shapes).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 3e8  # all of them have 10.7e9


def test_codes_that_learn_by_gradients():
    z, cotangent = normal(0, 2, 1, 3, 3, 4), normal(1, 2, 1, 3, 3, 4)
    module = VQ(7, commitment_weight=0.3, codebook_weight=0.8)
    variables = {"params": {"embeddings": normal(2, 7, 4)}}

    def loss(z, variables):
        result = module.apply(variables, z, train=True)
        return jnp.sum(result.latents * cotangent) + result.losses["regularization"], result

    (of_z, of_codes), result = jax.grad(loss, argnums=(0, 1), has_aux=True)(z, variables)
    indices = by_brute_force(z.reshape(-1, 4), variables["params"]["embeddings"])
    np.testing.assert_array_equal(result.indices.ravel(), indices)
    codes = np.asarray(variables["params"]["embeddings"])[indices].reshape(z.shape)
    np.testing.assert_allclose(result.latents, codes, atol=1e-6)
    error = np.mean((z - codes) ** 2)
    np.testing.assert_allclose([result.losses["commitment"], result.losses["codebook"]], [error, error], rtol=1e-6)
    np.testing.assert_allclose(result.losses["regularization"], 1.1 * error, rtol=1e-6)
    np.testing.assert_allclose(of_z, cotangent + 0.3 * 2 * (z - codes) / z.size, rtol=1e-5, atol=1e-6)
    expected = np.zeros((7, 4))
    np.add.at(expected, indices, (0.8 * 2 * (codes - z) / z.size).reshape(-1, 4))
    np.testing.assert_allclose(of_codes["params"]["embeddings"], expected, rtol=1e-5, atol=1e-7)


def test_without_losses_no_gradient_reaches_the_codes():
    z, module = normal(0, 1, 1, 4, 4, 2), VQ(5, commitment_weight=0.0, codebook_weight=0.0)
    variables = module.init(jax.random.key(0), z)
    assert float(jnp.max(jnp.abs(variables["params"]["embeddings"]))) <= 1 / 5

    def total(variables):
        result = module.apply(variables, z, train=True)
        return jnp.sum(result.latents) + result.losses["regularization"]

    assert not jnp.any(jax.grad(total)(variables)["params"]["embeddings"])


def test_inputs_of_length_one():
    z = normal(0, 1, 1, 4, 4, 3).at[0, 0, 0, 0].set(0.0)
    module = VQ(6, l2_codes=True)
    variables = {"params": {"embeddings": normal(1, 6, 3)}}
    scaled = np.asarray(z / np.maximum(np.linalg.norm(z, axis=-1, keepdims=True), 1e-12))
    result = module.apply(variables, z, train=True)
    np.testing.assert_array_equal(
        result.indices.ravel(), by_brute_force(scaled.reshape(-1, 3), variables["params"]["embeddings"])
    )
    codes = module.apply(variables, result.indices, method="indices_to_latents")
    np.testing.assert_allclose(result.losses["commitment"], np.mean((scaled - codes) ** 2), rtol=1e-6)
    gradient = jax.grad(lambda z: module.apply(variables, z, train=True).losses["regularization"])(z)
    assert jnp.all(jnp.isfinite(gradient))


EMA = {"ema_decay": 0.9, "codebook_weight": 0.0}


def test_a_moving_average_learns_in_training_only_and_only_where_it_may():
    z, module = normal(0, 1, 1, 4, 4, 2), VQ(5, **EMA)
    variables = module.init(jax.random.key(0), z, None, True)
    assert "params" not in variables
    np.testing.assert_array_equal(variables["codebook"]["counts"], np.ones(5))  # initialising has taught it nothing
    np.testing.assert_array_equal(variables["codebook"]["sums"], variables["codebook"]["embeddings"])
    _, kept = module.apply(variables, z, mutable=["codebook"])
    jax.tree.map(np.testing.assert_array_equal, kept, dict(variables))
    module.apply(variables, z, train=True)  # not mutable: must not raise
    _, changed = module.apply(variables, z, train=True, mutable=["codebook"])
    assert float(jnp.sum(changed["codebook"]["counts"])) == pytest.approx(0.9 * 5 + 0.1 * 16)
    assert not jnp.allclose(changed["codebook"]["embeddings"], variables["codebook"]["embeddings"])


def test_the_first_training_call_takes_its_vectors_as_codes():
    z, module = normal(0, 1, 1, 4, 4, 2), VQ(5, data_init=True, **EMA)
    variables = module.init(jax.random.key(0), z)
    result, changed = module.apply(variables, z, jax.random.key(1), True, mutable=["codebook"])
    taken = np.unique(result.latents.reshape(-1, 2).round(5), axis=0)
    vectors = z.reshape(-1, 2)
    assert len(taken) == 5 and all(np.abs(vectors - code).max(-1).min() < 1e-5 for code in taken)
    assert changed["codebook"]["initialized"]
    again, _ = module.apply(changed, z, jax.random.key(2), True, mutable=["codebook"])
    embeddings = changed["codebook"]["embeddings"]
    np.testing.assert_array_equal(again.indices.ravel(), by_brute_force(vectors, embeddings))


def test_more_codes_than_vectors_are_filled_with_noisy_copies():
    z = normal(0, 3, 4)
    filled = take_from(z, 8, jnp.arange(9), jnp.ones((9, 4)))
    np.testing.assert_allclose(filled, np.tile(z, (3, 1))[:8] + 0.01 / 2, rtol=1e-6)
    np.testing.assert_array_equal(take_from(z, 2, jnp.array([2, 0, 1])), z[jnp.array([2, 0])])


def test_dead_codes_become_vectors_of_the_batch():
    z, module = normal(0, 1, 1, 4, 4, 2), VQ(5, restart_threshold=0.95, **EMA)
    variables = module.init(jax.random.key(0), z)
    variables["codebook"]["embeddings"] = variables["codebook"]["embeddings"].at[3].set(100.0)
    _, changed = module.apply(variables, z, jax.random.key(1), True, mutable=["codebook"])
    assert float(changed["codebook"]["counts"][3]) == pytest.approx(0.9)  # it got no vector
    assert np.abs(z.reshape(-1, 2) - changed["codebook"]["embeddings"][3]).max(-1).min() == 0


@pytest.mark.parametrize("option", [{"data_init": True}, {"restart_threshold": 1.0}])
def test_drawing_vectors_needs_a_key(option):
    z, module = normal(0, 1, 1, 2, 2, 2), VQ(4, **EMA, **option)
    variables = module.init(jax.random.key(0), z)
    with pytest.raises(ValueError, match="data_init or restart_threshold draws vectors in training; give it a key as rng"):
        module.apply(variables, z, None, True, mutable=["codebook"])
