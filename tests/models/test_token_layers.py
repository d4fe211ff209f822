"""Layers of the transformer, against the textbook: norm, position convolution, windows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokjax.models.token_layers import Norm, PositionConvolution, Style
from tokjax.models.transformer import WindowAttention


def test_norm_is_the_textbook_norm():
    x = np.random.default_rng(0).normal(3, 2, (4, 6)).astype(np.float32)
    scale = np.arange(6, dtype=np.float32)
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * scale
    np.testing.assert_allclose(Norm().apply({"params": {"scale": scale}}, x), expected, atol=1e-5)


def test_the_sound_convolution_along_time_is_that_along_space():
    """The same weights, on the same tokens in another order."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, 4, 5, 6)), jnp.float32)
    style = Style(mode="sound")
    over_space, over_time = PositionConvolution(style, False), PositionConvolution(style, True)
    variables = over_space.init(jax.random.key(0), x)
    y = over_time.apply(variables, jnp.moveaxis(x, 1, 3))
    np.testing.assert_allclose(jnp.moveaxis(y, 3, 1), over_space.apply(variables, x), atol=1e-5)


@pytest.mark.slow
def test_a_grid_smaller_than_the_window_is_one_window():
    """It sees what it would see in the corner of a window whose other tokens are out of sight."""
    style = Style(heads=2, window=4)
    small = jnp.asarray(np.random.default_rng(0).normal(size=(1, 1, 2, 3, 8)), jnp.float32)
    layer = WindowAttention(style)
    variables = layer.init(jax.random.key(0), small)
    assert variables["params"]["bias_table"].shape == (49, 2)
    params = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(1), leaf.shape), variables["params"])
    y = layer.apply({"params": params}, small)
    normed = Norm().apply({"params": params["norm"]}, small).reshape(6, 8)
    query, key, value = ((normed @ params["qkv"]["kernel"]).reshape(6, 3, 2, 4)[:, i] for i in range(3))
    expected = np.zeros((6, 2, 4))
    for i, h in np.ndindex(6, 2):
        offsets = [((i // 3 - j // 3) + 3) * 7 + (i % 3 - j % 3) + 3 for j in range(6)]
        logits = np.array([query[i, h] @ key[j, h] / 2 + params["bias_table"][offsets[j], h] for j in range(6)])
        weights = np.exp(logits - logits.max())
        expected[i, h] = sum(w * value[j, h] for j, w in enumerate(weights / weights.sum()))
    expected = expected.reshape(6, 8) @ params["projection"]["kernel"] + params["projection"]["bias"]
    np.testing.assert_allclose(y.reshape(6, 8), expected, atol=1e-4)


def sizes(jaxpr):
    """How many values each array inside has."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.size for variable in equation.outvars)
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                yield from sizes(inner) if hasattr(inner, "eqns") else ()


def test_windows_need_no_mask():
    """The largest array is the logits: 256 tokens see the 16 of their window, 2 heads; nothing is of all pairs of tokens."""
    layer, tokens = WindowAttention(Style(heads=2, window=4)), jax.ShapeDtypeStruct((1, 1, 16, 16, 8), jnp.float32)
    variables = jax.eval_shape(layer.init, jax.random.key(0), tokens)
    assert max(sizes(jax.make_jaxpr(layer.apply)(variables, tokens).jaxpr)) == 256 * 16 * 2
