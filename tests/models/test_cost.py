"""FLOPs and memory against closed forms, a count by hand, the published figure and XLA's own analysis."""

import itertools

import jax
import jax.numpy as jnp
import pytest

from tokjax.experiment import load_experiment
from tokjax.models.convolution import CONVOLUTION_FORM
from tokjax.models.cost import activation_bytes, count_bytes, count_flops
from tokjax.models.tokenizer import build


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


def test_matrix_products():
    assert count_flops(jnp.matmul, shape(3, 5), shape(5, 7)) == 2 * 3 * 5 * 7
    assert count_flops(lambda a, b: jnp.einsum("bqc,bkc->bqk", a, b), shape(2, 4, 8), shape(2, 6, 8)) == 2 * 2 * 4 * 6 * 8
    assert count_flops(lambda a: jnp.sin(a) + 1, shape(9)) == 0


def _taps_by_hand(size, taps, stride, before, length):
    return sum(0 <= j * stride + k - before < size for j, k in itertools.product(range(length), range(taps)))


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads"),
    [
        ((5, 8, 9), (3, 3, 3), (1, 1, 1), ((2, 0), (1, 1), (1, 1))),
        ((5, 8, 9), (3, 3, 3), (2, 1, 1), ((1, 0), (1, 1), (1, 1))),
        ((4, 7, 6), (1, 3, 3), (1, 2, 2), ((0, 0), (0, 1), (0, 1))),
        ((4, 4, 4), (3, 1, 1), (1, 1, 1), ((2, 0), (0, 0), (0, 0))),
    ],
)
def test_convolutions(size, kernel, stride, pads):
    def run(x, k):
        return jax.lax.conv_general_dilated(x, k, stride, pads, dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))

    x, k = shape(2, *size, 4), shape(*kernel, 4, 6)
    lengths = [(n + sum(p) - w) // s + 1 for n, w, s, p in zip(size, kernel, stride, pads, strict=True)]
    with_padding = 2 * 2 * 4 * 6
    for length, taps in zip(lengths, kernel, strict=True):
        with_padding *= length * taps
    assert count_flops(run, x, k) == with_padding
    without = 2 * 2 * 4 * 6
    for axis in range(3):
        without *= _taps_by_hand(size[axis], kernel[axis], stride[axis], pads[axis][0], lengths[axis])
    assert count_flops(run, x, k, padding=False) == without < with_padding


def test_loops_and_inner_functions_are_followed():
    inner = jax.jit(lambda a: a @ a)
    one = 2 * 4**3

    def loop(a):
        return jax.lax.scan(lambda carry, _: (jax.checkpoint(inner)(carry), None), a, length=11)[0]

    assert count_flops(inner, shape(4, 4)) == one
    assert count_flops(loop, shape(4, 4)) == 11 * one
    assert count_flops(jax.grad(lambda a: inner(a).sum()), shape(4, 4)) in (
        2 * one,
        3 * one,
    )  # the product itself may be left out


@pytest.fixture
def direct():
    token = CONVOLUTION_FORM.set("direct")
    yield
    CONVOLUTION_FORM.reset(token)


def test_the_published_cost_of_vidtok(direct, request):
    """10.35 T multiply-accumulates in the paper; XLA's count leaves padding out and adds elementwise work."""
    config = load_experiment(str(request.config.rootpath / "experiments" / "vidtok.py:kl_causal_488_4chn"))
    config.model.remat = False
    model, video = build(config.model), shape(1, 17, 256, 256, 3)
    variables = jax.eval_shape(model.init, jax.random.key(0), shape(1, 1, 8, 8, 3))

    def forward(variables, video):
        return model.apply(variables, video)[0]

    assert count_flops(forward, variables, video) == pytest.approx(2 * 10.345e12, rel=1e-4)
    by_xla = jax.jit(forward).lower(variables, video).cost_analysis()["flops"]
    assert count_flops(forward, variables, video, padding=False) == pytest.approx(by_xla, rel=0.01)


def test_bytes_of_a_tree():
    assert count_bytes({"a": shape(3, 5), "b": [shape(7, dtype=jnp.bfloat16), jnp.zeros((2,), jnp.int32)]}) == 60 + 14 + 8


def test_activations_are_what_the_backward_pass_keeps():
    """sin(p * x) keeps x and cos(p * x), and p, which is left out; recomputed, x is kept and the cosine lives for a while."""
    p, x, size = shape(1000), shape(1000), 4000
    assert activation_bytes(lambda p, x: jnp.sin(p * x), p, x) == 2 * size

    def deep(p, x, wrap):
        for _ in range(3):
            x = wrap(lambda p, x: jnp.sin(jnp.sin(jnp.sin(p * x))))(p, x)
        return x

    stored = activation_bytes(lambda p, x: deep(p, x, lambda f: f), p, x)
    recomputed = activation_bytes(lambda p, x: deep(p, x, jax.checkpoint), p, x)
    assert stored == 3 * 4 * size  # of each of three: x and three cosines
    assert recomputed == (3 + 3) * size  # three inputs, and the cosines of one at a time
