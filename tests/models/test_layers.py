"""Layers against numpy in float64, and the two forms of convolution against each other, gradients included."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokjax.models import layers
from tokjax.models.convolution import CONVOLUTION_FORM, convolve

SHAPES = [
    # kernel, strides, pads
    ((3, 3, 3), (1, 1, 1), ((2, 0), (1, 1), (1, 1))),
    ((3, 3, 3), (2, 1, 1), ((1, 0), (1, 1), (1, 1))),
    ((3, 1, 1), (1, 1, 1), ((2, 0), (0, 0), (0, 0))),
    ((1, 3, 3), (1, 2, 2), ((0, 0), (0, 1), (0, 1))),
    ((1, 1, 1), (1, 1, 1), ((0, 0), (0, 0), (0, 0))),
    ((1, 1, 1), (2, 1, 1), ((0, 0), (0, 0), (0, 0))),
    ((3, 3, 3), (2, 2, 2), ((1, 1), (1, 1), (1, 1))),
    ((4, 2, 2), (3, 1, 2), ((0, 2), (0, 0), (1, 0))),
    ((2, 3, 1), (1, 1, 1), ((5, 4), (2, 2), (0, 0))),
    ((5, 1, 1), (1, 1, 1), ((4, 0), (0, 0), (0, 0))),
]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def by_hand(x, kernel, strides, pads):
    """Convolution in float64, one tap after the other."""
    x = np.pad(x.astype(np.float64), ((0, 0), *pads, (0, 0)))
    lengths = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:4], kernel.shape, strides, strict=False)]
    total = np.zeros((x.shape[0], *lengths, kernel.shape[-1]))
    for taps in itertools.product(*map(range, kernel.shape[:3])):
        where = tuple(slice(k, k + s * (n - 1) + 1, s) for k, s, n in zip(taps, strides, lengths, strict=True))
        total += x[(slice(None), *where)] @ kernel[taps].astype(np.float64)
    return total


@pytest.mark.parametrize(
    ("kernel", "strides", "pads", "frames"),
    [(*one, frames) for one in SHAPES for frames in (1, 4, 5) if frames + sum(one[2][0]) >= one[0][0]],
)
def test_both_forms_are_the_convolution(kernel, strides, pads, frames):
    x, k = normal(2, frames, 6, 5, 3), normal(*kernel, 3, 4, seed=1)
    expected = by_hand(x, k, strides, pads)
    cotangent = normal(*expected.shape, seed=2)

    def run(form, x, k):
        token = CONVOLUTION_FORM.set(form)
        y = convolve(x, k, strides, pads)
        CONVOLUTION_FORM.reset(token)
        return jnp.sum(y * cotangent), y

    gradients = {}
    for form in ("direct", "shifted"):
        (_, y), gradients[form] = jax.jit(jax.value_and_grad(partial(run, form), (0, 1), has_aux=True))(x, k)
        np.testing.assert_allclose(y, expected, atol=2e-5)
    for direct, shifted in zip(gradients["direct"], gradients["shifted"], strict=True):
        np.testing.assert_allclose(shifted, direct, atol=5e-5)


def test_causal_pads():
    assert layers.causal_pads((3, 3, 3), (1, 1, 1)) == [(2, 0), (1, 1), (1, 1)]
    assert layers.causal_pads((3, 3, 3), (2, 1, 1)) == [(1, 0), (1, 1), (1, 1)]
    assert layers.causal_pads((1, 4, 4), (1, 1, 1)) == [(0, 0), (1, 2), (1, 2)]


def normalised(x, scale, bias, axes):
    x = x.astype(np.float64)
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-6)
    return y, scale, bias


def test_layernorm():
    x, scale, bias = 3 + 2 * normal(2, 3, 4, 5, 8), normal(8, seed=1), normal(8, seed=2)
    y, *_ = normalised(x, scale, bias, -1)
    found = layers.Norm("layernorm").apply({"params": {"scale": scale, "bias": bias}}, x)
    np.testing.assert_allclose(found, y * scale + bias, atol=1e-5)


@pytest.mark.parametrize(("extent", "axes"), [("frame", (2, 3, 5)), ("position", (5,))])
def test_groupnorm_covers_its_extent(extent, axes):
    x, scale, bias = 3 + 2 * normal(2, 3, 4, 5, 128), normal(128, seed=1), normal(128, seed=2)
    y, *_ = normalised(x.reshape(2, 3, 4, 5, 32, 4), scale, bias, axes)
    found = layers.Norm("groupnorm", extent).apply({"params": {"scale": scale, "bias": bias}}, x)
    np.testing.assert_allclose(found, y.reshape(x.shape) * scale + bias, atol=1e-4)


def test_statistics_are_float32_whatever_the_input():
    x = jnp.asarray(100 + normal(1, 1, 2, 2, 8), jnp.bfloat16)
    parameters = {"params": {"scale": np.ones(8, np.float32), "bias": np.zeros(8, np.float32)}}
    found = layers.Norm("layernorm").apply(parameters, x)
    assert found.dtype == jnp.bfloat16
    y, *_ = normalised(np.asarray(x, np.float64), 1, 0, -1)
    np.testing.assert_allclose(np.asarray(found, np.float64), y, atol=0.02)


def test_attention_mixes_the_positions_of_a_frame():
    x = normal(2, 3, 4, 5, 8)
    module = layers.FrameAttention()
    params = jax.tree.map(lambda leaf: normal(*leaf.shape, seed=leaf.size), jax.eval_shape(module.init, jax.random.key(0), x))
    p = params["params"]
    y, *_ = normalised(x, 1, 0, -1)
    y = y * p["norm"]["scale"] + p["norm"]["bias"]
    q, k, v = ((y @ p[n]["kernel"][0, 0, 0] + p[n]["bias"]).reshape(2, 3, 20, 8) for n in "qkv")
    weights = np.exp(q @ np.swapaxes(k, -1, -2) / np.sqrt(8))
    mixed = ((weights / weights.sum(-1, keepdims=True)) @ v).reshape(x.shape)
    expected = x + mixed @ p["proj_out"]["kernel"][0, 0, 0] + p["proj_out"]["bias"]
    np.testing.assert_allclose(module.apply(params, x), expected, atol=2e-4)


@pytest.mark.parametrize("frames", [1, 4, 5])
def test_time_is_halved_and_doubled_by_a_blend(frames):
    x, alpha = normal(1, frames, 4, 4, 3), 1 / (1 + np.exp(-0.7))
    zeros = {"kernel": np.zeros((3, 3, 3, 3, 3), np.float32), "bias": np.full(3, 0.5, np.float32)}
    params = {"params": {"conv": zeros, "mix_factor": np.array([0.7], np.float32)}}
    up = layers.TemporalUpsample().apply(params, x)
    np.testing.assert_allclose(up, alpha * x[:, np.arange(2 * frames) // 2] + (1 - alpha) * 0.5, atol=1e-6)
    if frames > 1:
        before = np.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0), (0, 0)))
        mean = np.stack([before[:, 2 * j : 2 * j + 3].mean(1) for j in range(frames // 2)], 1)
        np.testing.assert_allclose(layers.TemporalDownsample().apply(params, x), alpha * mean + (1 - alpha) * 0.5, atol=1e-6)


def test_he_keeps_the_variance_and_published_damps_it():
    x = normal(1, 4, 16, 16, 32)
    spread = {}
    for init in ("he", "published"):
        conv = layers.Conv(64, style=layers.Style(init=init))
        variables = conv.init(jax.random.key(0), x)
        spread[init] = float(jnp.var(conv.apply(variables, x)[:, 2:, 1:-1, 1:-1]))
        bound = 1 / np.sqrt(27 * 32)
        if init == "published":
            kernel = np.asarray(variables["params"]["kernel"])
            assert np.abs(kernel).max() <= bound and kernel.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)
        else:
            assert not variables["params"]["bias"].any()
    assert spread["he"] == pytest.approx(2, rel=0.1)  # the activation after it halves it
    assert spread["published"] == pytest.approx(1 / 3, rel=0.1)
