"""Factorised entropies equal the direct form, which has an entry for every position and code, and need far less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokjax.quantizers.entropy import INVERSE_TEMPERATURE, SMALLEST_PROBABILITY, code_entropies
from tokjax.quantizers.fsq import FSQ

EIGHT, TWO = np.arange(-4, 4) / 4, np.array([-1, 1])
GRIDS = {
    "8^3": [EIGHT] * 3,
    "8^4": [EIGHT] * 4,
    "2^9": [TWO] * 9,
    "2^12": [TWO] * 12,
    "mixed": [EIGHT, TWO, TWO],
    "7": [np.arange(7) / 3 - 1],
}


def direct(u, values):
    codes = np.stack(np.meshgrid(*values, indexing="ij"), axis=-1).reshape(-1, len(values))
    p = jax.nn.softmax(2 * INVERSE_TEMPERATURE * jnp.matmul(u, codes.T, precision="highest"))
    entropy = lambda p: -jnp.sum(p * jnp.log(jnp.maximum(p, SMALLEST_PROBABILITY)), axis=-1)  # noqa: E731
    return jnp.mean(entropy(p)), entropy(p.mean(0))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("scale", [0.003, 0.3])
def test_entropies_and_gradients_equal_the_direct_form_in_float64(grid, scale):
    values = GRIDS[grid]
    u = np.float32(scale * np.random.default_rng(1).normal(size=(64, len(values))))
    for term in (0, 1):
        ours = jax.jit(jax.value_and_grad(lambda u, term=term: code_entropies(u, [np.float32(v) for v in values])[term]))(u)
        with jax.enable_x64(True):
            exact = jax.jit(jax.value_and_grad(lambda u, term=term: direct(u, values)[term]))(np.float64(u))
            exact = jax.tree.map(np.asarray, exact)
        assert exact[1].dtype == np.float64
        np.testing.assert_allclose(ours[0], exact[0], rtol=1e-5)
        assert np.linalg.norm(ours[1] - exact[1]) <= 1e-5 * np.linalg.norm(exact[1])


def test_a_position_between_all_codes_has_the_entropy_of_all():
    per_position, of_mean = code_entropies(jnp.zeros((3, 10)), [np.float32(TWO)] * 10)
    np.testing.assert_allclose([per_position, of_mean], [10 * np.log(2)] * 2, rtol=2e-5)


@pytest.mark.parametrize("values", [FSQ((8,) * 6)._values(), [np.float32(TWO)] * 18], ids=["fsq", "lfq"])
def test_262144_codes_and_10240_positions_stay_under_a_gigabyte(values):
    def loss(u):
        per_position, of_mean = code_entropies(u, values)
        return per_position - of_mean

    u = jax.ShapeDtypeStruct((10240, len(values)), jnp.float32)
    memory = jax.jit(jax.value_and_grad(loss)).lower(u).compile().memory_analysis()
    total = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
    assert 1e6 < total < 1e9  # one array [positions, codes] alone has 10.7e9
