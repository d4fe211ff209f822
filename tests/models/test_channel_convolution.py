"""The convolution of single channels is XLA's, and so are its gradients, in both forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokjax.models.channel_convolution import _padded, _row_by_row, _tap_by_tap, convolve_channels

PADS = [((2, 0), (1, 1), (1, 1)), ((1, 1), (1, 1), (1, 1)), ((1, 1), (1, 1), (2, 0))]


def of_xla(x, kernel, pads):
    numbers = ("NDHWC", "DHWIO", "NDHWC")
    return jax.lax.conv_general_dilated(
        x, kernel[..., None, :], (1, 1, 1), pads, dimension_numbers=numbers, feature_group_count=x.shape[-1]
    )


def random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("pads", PADS)
def test_values(pads):
    x, kernel = random(2, 4, 5, 3, 6), random(3, 3, 3, 6, seed=1)
    np.testing.assert_allclose(convolve_channels(x, kernel, pads), of_xla(x, kernel, pads), atol=1e-4)


@pytest.mark.parametrize("pads", PADS)
def test_gradients(pads):
    x, kernel, cotangent = random(2, 4, 5, 3, 6), random(3, 3, 3, 6, seed=1), random(2, 4, 5, 3, 6, seed=2)
    ours, theirs = (jax.vjp(lambda x, k, f=f: f(x, k, pads), x, kernel)[1](cotangent) for f in (convolve_channels, of_xla))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    for form in (_tap_by_tap, _row_by_row):
        np.testing.assert_allclose(form(_padded(x, pads), cotangent), theirs[1], atol=1e-4)


def test_gradients_of_half_precision_are_summed_in_full():
    """A sum of 4096 ones would stop at 256 in bfloat16."""
    x, kernel = jnp.ones((1, 16, 16, 16, 1), jnp.bfloat16), jnp.zeros((3, 3, 3, 1), jnp.bfloat16)
    gradient = jax.grad(lambda k: jnp.sum(convolve_channels(x, k, PADS[1]).astype(jnp.float32)))(kernel)
    assert gradient.dtype == jnp.bfloat16 and gradient[1, 1, 1, 0] == 4096
