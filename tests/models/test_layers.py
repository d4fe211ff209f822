"""Layers against numpy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokjax.models import layers


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("kernel", "strides", "causal", "noncausal"),
    [
        ((3, 3, 3), (1, 1, 1), [(2, 0), (1, 1), (1, 1)], [(1, 1), (1, 1), (1, 1)]),
        ((3, 3, 3), (2, 1, 1), [(1, 0), (1, 1), (1, 1)], [(0, 1), (1, 1), (1, 1)]),
        ((1, 4, 4), (1, 1, 1), [(0, 0), (1, 2), (1, 2)], [(0, 0), (1, 2), (1, 2)]),
    ],
)
def test_pads(kernel, strides, causal, noncausal):
    assert layers.default_pads(kernel, strides) == layers.default_pads(kernel, strides, "causal_v1_1") == causal
    assert layers.default_pads(kernel, strides, "noncausal") == noncausal


@pytest.mark.parametrize(
    ("causality", "pads", "mode"),
    [
        ("causal", (2, 0), "constant"),
        ("causal_v1_1", (2, 0), "edge"),
        ("noncausal", (1, 1), "constant"),
    ],
)
def test_what_a_convolution_finds_outside_of_a_video(causality, pads, mode):
    x, kernel = normal(1, 3, 2, 2, 4), normal(3, 1, 1, 4, 5, seed=1)
    padded = np.pad(x, ((0, 0), pads, (0, 0), (0, 0), (0, 0)), mode=mode)
    expected = sum(padded[:, tap : tap + 3] @ kernel[tap, 0, 0] for tap in range(3))
    conv = layers.Conv(5, (3, 1, 1), style=layers.Style(causality=causality))
    found = conv.apply({"params": {"kernel": kernel, "bias": np.zeros(5, np.float32)}}, x)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def normalised(x, scale, bias, axes):
    x = x.astype(np.float64)
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-6)
    return y, scale, bias


def test_layernorm():
    x, scale, bias = 3 + 2 * normal(2, 3, 4, 5, 8), normal(8, seed=1), normal(8, seed=2)
    y, *_ = normalised(x, scale, bias, -1)
    found = layers.Norm("layernorm").apply({"params": {"scale": scale, "bias": bias}}, x)
    np.testing.assert_allclose(found, y * scale + bias, atol=1e-5)


@pytest.mark.parametrize(
    ("extent", "axes"), [("position", (5,)), ("pixel", (1, 5)), ("frame", (2, 3, 5)), ("clip", (1, 2, 3, 5))]
)
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


@pytest.mark.parametrize(
    ("kernel", "causal", "noncausal"),
    [((1, 3, 3), "frame", "frame"), ((3, 1, 1), "position", "pixel"), ((3, 3, 3), "frame", "clip")],
)
def test_groups_cover_what_the_published_code_saw_at_once(kernel, causal, noncausal):
    extent = {c: layers.norm_like(layers.Style(causality=c), kernel).extent for c in ("causal", "causal_v1_1", "noncausal")}
    assert extent == {"causal": causal, "causal_v1_1": causal, "noncausal": noncausal}


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
