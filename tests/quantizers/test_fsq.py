"""FSQ beyond its golden file: every code, gradients, and what it leaves out."""

import jax
import jax.numpy as jnp
import numpy as np

from tokjax.quantizers import FSQ, GridLosses


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


def test_sizes_and_losses():
    z = jax.random.normal(jax.random.key(0), (1, 1, 2, 2, 3))
    quantizer = FSQ((4, 3, 5), GridLosses(entropy_weight=0.0, commitment_weight=0.5))
    assert quantizer.codebook_size == 60
    assert quantizer(z).losses == {}
    result = quantizer(z, train=True)
    np.testing.assert_allclose(result.losses["regularization"], 0.5 * np.mean((z - result.latents) ** 2), rtol=1e-6)
    assert FSQ((4, 3, 5), GridLosses(0.0, commitment_weight=0.0))(z, train=True).losses["regularization"] == 0


def test_half_precision_inputs_are_quantized_in_float32():
    z = jax.random.normal(jax.random.key(0), (1, 1, 2, 2, 2)).astype(jnp.bfloat16)
    latents = FSQ((8, 8))(z).latents
    assert latents.dtype == jnp.float32
    np.testing.assert_array_equal(latents, FSQ((8, 8))(z.astype(jnp.float32)).latents)
