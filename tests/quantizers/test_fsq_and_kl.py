"""FSQ and KL equal the PyTorch original on the golden regularizer file, losses and gradients included."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_weights import read_golden

from tokjax.quantizers import FSQ, KL
from tokjax.quantizers.fsq import INVERSE_TEMPERATURE, SMALLEST_PROBABILITY, code_entropies
from tokjax.quantizers.kl import sample

CASES = ["fsq_4096", "fsq_32768", "fsq_262144", "fsq_mixed_8555", "fsq_odd_75555_gamma", "fsq_noentropy"]


@pytest.fixture(scope="module")
def regularizers(golden):
    return read_golden(golden("vidtok/unit_regularizers.npz"))


def _last(array):
    return np.moveaxis(array, 1, -1)


def _quantizer(kwargs):
    return FSQ(
        levels=tuple(kwargs["levels"]),
        entropy_weight=kwargs.get("entropy_loss_weight", 0.0),
        entropy_annealing_steps=kwargs.get("entropy_loss_annealing_steps", 0),
        entropy_annealing_factor=kwargs.get("entropy_loss_annealing_factor", 1.0),
        commitment_weight=kwargs.get("commitment_loss_weight", 0.0),
        diversity_gamma=kwargs.get("diversity_gamma", 1.0),
    )


@pytest.mark.parametrize("name", CASES)
def test_fsq_matches_golden(regularizers, name):
    arrays, meta = regularizers
    quantizer = _quantizer(meta["cases"][name])
    out = {key.rpartition("/")[2]: value for key, value in arrays.items() if key.startswith(f"out:{name}/")}
    z = jnp.asarray(_last(arrays[f"in:{name}"]))
    result = quantizer(z, train=True)
    np.testing.assert_array_equal(result.indices, out["indices"])
    np.testing.assert_allclose(result.latents, _last(out["z_q"]), atol=1e-6)
    np.testing.assert_allclose(quantizer.indices_to_latents(result.indices), _last(out["codes_from_indices"]), atol=1e-6)
    head = quantizer.indices_to_latents(jnp.arange(64))
    np.testing.assert_allclose(head, out["implicit_codebook_head"][:64], atol=1e-6)
    for step in (0, 700, 2000):
        loss = quantizer(z, train=True, step=step).losses["regularization"]
        np.testing.assert_allclose(loss, out[f"aux_loss_n{step}"], rtol=1e-4, atol=1e-6)
    straight_through = jax.grad(lambda z: jnp.sum(quantizer(z).latents * _last(out["r"])))(z)
    np.testing.assert_allclose(straight_through, _last(out["grad_st"]), rtol=1e-4, atol=1e-6)
    of_loss = jax.grad(lambda z: quantizer(z, train=True, step=700).losses["regularization"])(z)
    expected = _last(out["grad_aux"]) if "grad_aux" in out else 0.0  # no loss, no gradient
    np.testing.assert_allclose(of_loss, expected, rtol=1e-3, atol=2e-5)


def test_kl_matches_golden(regularizers):
    arrays, _ = regularizers
    out = {key.rpartition("/")[2]: value for key, value in arrays.items() if key.startswith("out:kl/")}
    z, noise, r = (jnp.asarray(_last(array)) for array in (arrays["in:kl"], out["noise"], out["r"]))
    np.testing.assert_allclose(KL()(z, train=True).losses["kl"], out["kl_loss"], rtol=1e-5)
    gradient = jax.grad(lambda z: KL()(z, train=True).losses["kl"])(z)
    np.testing.assert_allclose(gradient, _last(out["grad_kl"]), rtol=1e-4, atol=1e-7)

    np.testing.assert_allclose(sample(z, noise), _last(out["sample"]), rtol=1e-5, atol=1e-5)
    gradient = jax.grad(lambda z: jnp.sum(sample(z, noise) * r))(z)
    np.testing.assert_allclose(gradient, _last(out["grad_sample"]), rtol=1e-4, atol=1e-5)
    key = jax.random.key(3)
    np.testing.assert_array_equal(KL()(z, key).latents, sample(z, jax.random.normal(key, noise.shape)))
    np.testing.assert_array_equal(KL()(z).latents, jnp.split(z, 2, axis=-1)[0])


@pytest.mark.parametrize("levels", [(8, 8, 8), (5, 4, 3, 3), (7,)])
@pytest.mark.parametrize("scale", [0.0, 0.005, 0.3])
def test_factorised_entropies_equal_the_direct_form(levels, scale):
    u = scale * jax.random.normal(jax.random.key(1), (40, len(levels)))
    codes = FSQ(levels).indices_to_latents(jnp.arange(FSQ(levels).codebook_size))

    def clamped_entropy(p):
        return -jnp.sum(p * jnp.log(jnp.maximum(p, SMALLEST_PROBABILITY)), axis=-1)

    def direct(u):
        p = jax.nn.softmax(2 * INVERSE_TEMPERATURE * jnp.matmul(u, codes.T, precision="highest"))
        return jnp.mean(clamped_entropy(p)), clamped_entropy(p.mean(0))

    for term in (0, 1):
        value, gradient = jax.value_and_grad(lambda u, term=term: code_entropies(u, levels)[term])(u)
        expected, expected_gradient = jax.value_and_grad(lambda u, term=term: direct(u)[term])(u)
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-3, atol=2e-5)


def test_every_code_round_trips_through_its_index():
    quantizer = FSQ((8, 5, 4))
    indices = jnp.arange(quantizer.codebook_size).reshape(1, 1, 1, -1)
    latents = quantizer.indices_to_latents(indices)
    # An input that the bounding maps onto the code: its inverse, by bisection on a monotone function.
    low, high = jnp.full(latents.shape, -9.0), jnp.full(latents.shape, 9.0)
    target = latents * (np.array(quantizer.levels) // 2)
    for _ in range(60):
        middle = (low + high) / 2
        below = quantizer._bound(middle) < target
        low, high = jnp.where(below, middle, low), jnp.where(below, high, middle)
    np.testing.assert_array_equal(quantizer(low).indices, indices)


def test_no_losses_outside_training():
    z = jnp.zeros((1, 1, 2, 2, 4))
    assert KL()(z).losses == {} and FSQ((4,) * 4)(z).losses == {}
    assert math.prod((4,) * 4) == FSQ((4,) * 4).codebook_size
