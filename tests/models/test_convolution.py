"""Every form of convolution against a sum by hand in float64, gradients against each other, and what the split form saves."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokjax.models import convolution
from tokjax.models.convolution import CONVOLUTION_FORM, convolve
from tokjax.models.cost import count_flops

SAME, CAUSAL, NONE = (1, 1), (2, 0), (0, 0)
CASES = [
    # kernel, strides, pads, repeat
    ((3, 3, 3), (1, 1, 1), (CAUSAL, SAME, SAME), (1, 1, 1)),
    ((3, 3, 3), (1, 1, 1), (SAME, SAME, SAME), (1, 1, 1)),
    ((3, 3, 3), (2, 1, 1), ((1, 0), SAME, SAME), (1, 1, 1)),
    ((3, 3, 3), (2, 2, 2), (SAME, SAME, SAME), (1, 1, 1)),
    ((3, 1, 1), (1, 1, 1), (CAUSAL, NONE, NONE), (1, 1, 1)),
    ((3, 1, 1), (2, 1, 1), (SAME, NONE, NONE), (1, 1, 1)),
    ((1, 3, 3), (1, 1, 1), (NONE, SAME, SAME), (1, 1, 1)),
    ((1, 3, 3), (1, 2, 2), (NONE, (0, 1), (0, 1)), (1, 1, 1)),
    ((1, 1, 1), (1, 1, 1), (NONE, NONE, NONE), (1, 1, 1)),
    ((1, 1, 1), (2, 1, 1), (NONE, NONE, NONE), (1, 1, 1)),
    ((4, 2, 2), (3, 1, 2), ((0, 2), NONE, (1, 0)), (1, 1, 1)),
    ((2, 3, 1), (1, 1, 1), ((5, 4), (2, 2), NONE), (1, 1, 1)),
    ((5, 1, 1), (1, 1, 1), ((4, 0), NONE, NONE), (1, 1, 1)),
    # repeated before: up-sampling of space, of time (causal, centred, after a remembered frame), of both
    ((1, 3, 3), (1, 1, 1), (NONE, SAME, SAME), (1, 2, 2)),
    ((3, 3, 3), (1, 1, 1), (CAUSAL, SAME, SAME), (2, 1, 1)),
    ((3, 3, 3), (1, 1, 1), (SAME, SAME, SAME), (2, 1, 1)),
    ((3, 3, 3), (1, 1, 1), (NONE, SAME, SAME), (2, 1, 1)),
    ((3, 3, 3), (1, 1, 1), (CAUSAL, SAME, SAME), (2, 2, 2)),
    ((3, 1, 1), (1, 1, 1), (CAUSAL, NONE, NONE), (2, 1, 1)),
    ((3, 3, 3), (1, 1, 1), ((1, 0), SAME, SAME), (2, 1, 1)),
    ((1, 1, 1), (1, 1, 1), (NONE, NONE, NONE), (2, 2, 2)),
    ((1, 3, 3), (1, 2, 2), (NONE, SAME, SAME), (1, 2, 2)),
]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def by_hand(x, kernel, strides, pads, repeat):
    """Convolution in float64, one tap after the other."""
    for axis, times in enumerate(repeat):
        x = np.repeat(x, times, axis + 1)
    x = np.pad(x.astype(np.float64), ((0, 0), *pads, (0, 0)))
    lengths = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:4], kernel.shape, strides, strict=False)]
    total = np.zeros((x.shape[0], *lengths, kernel.shape[-1]))
    for taps in itertools.product(*map(range, kernel.shape[:3])):
        where = tuple(slice(k, k + s * (n - 1) + 1, s) for k, s, n in zip(taps, strides, lengths, strict=True))
        total += x[(slice(None), *where)] @ kernel[taps].astype(np.float64)
    return total


def run(form, x, kernel, *rest):
    token = CONVOLUTION_FORM.set(form)
    try:
        return convolve(x, kernel, *rest)
    finally:
        CONVOLUTION_FORM.reset(token)


@pytest.fixture(params=["as wide as it pays", "always"])
def minimal_filtering(request, monkeypatch):
    if request.param == "always":
        monkeypatch.setattr(convolution, "NARROWEST_IN_TIME", 1)
        monkeypatch.setattr(convolution, "NARROWEST_IN_SPACE", 1)


@pytest.mark.parametrize("frames", [1, 4, 5])
@pytest.mark.parametrize(("kernel", "strides", "pads", "repeat"), CASES)
def test_both_forms_are_the_convolution(minimal_filtering, kernel, strides, pads, repeat, frames):
    if frames * repeat[0] + sum(pads[0]) < kernel[0]:
        pytest.skip("shorter than the kernel")
    x, k = normal(2, frames, 6, 5, 3), normal(*kernel, 3, 4, seed=1)
    expected = by_hand(x, k, strides, pads, repeat)
    cotangent = normal(*expected.shape, seed=2)

    def loss(form, x, k):
        y = run(form, x, k, strides, pads, repeat)
        return jnp.sum(y * cotangent), y

    gradients = {}
    for form in ("direct", "split"):
        (_, y), gradients[form] = jax.jit(jax.value_and_grad(partial(loss, form), (0, 1), has_aux=True))(x, k)
        np.testing.assert_allclose(y, expected, atol=5e-5)
    for direct, split in zip(gradients["direct"], gradients["split"], strict=True):
        np.testing.assert_allclose(split, direct, atol=2e-4)


@pytest.mark.parametrize(
    ("kernel", "pads", "repeat", "products"),
    [
        ((1, 3, 3), (NONE, SAME, SAME), (1, 1, 1), 2 / 3),  # along height
        ((3, 3, 3), (CAUSAL, SAME, SAME), (1, 1, 1), (2 / 3) ** 2),  # along time and height
        ((1, 3, 3), (NONE, SAME, SAME), (1, 2, 2), 1 / 4),  # three products for two rows, and so for columns
        ((3, 3, 3), (CAUSAL, SAME, SAME), (2, 1, 1), 1 / 2 * 2 / 3),  # three for two frames, then along height
    ],
)
def test_products_of_a_wide_convolution(kernel, pads, repeat, products):
    """Against one product for every output and tap."""
    x, k = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, 40, 32, 32, 256), (*kernel, 256, 256)))
    counted = count_flops(lambda x, k: run("split", x, k, (1, 1, 1), pads, repeat), x, k)
    outputs = np.prod([40, 32, 32]) * np.prod(repeat)
    assert counted / (2 * outputs * np.prod(kernel) * 256**2) == pytest.approx(products, rel=0.05)


def test_a_narrow_convolution_uses_plain_products():
    x, k = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, 8, 8, 8, 16), (1, 3, 3, 16, 16)))
    counted = count_flops(lambda x, k: run("split", x, k, (1, 1, 1), (NONE, SAME, SAME)), x, k)
    assert counted == 2 * 8**3 * 9 * 16**2
