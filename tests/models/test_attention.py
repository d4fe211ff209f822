"""Attention in all its forms is the textbook sum, gradients included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokjax.models.attention import all_heads_at_once, attention, head_by_head

FORMS = {"at once": all_heads_at_once, "head by head": head_by_head}


def random(*shape, seed=0, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def textbook(query, key, value, bias=None, causal=False, scale=1.0):
    """One position after the other, in float64."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    result = np.zeros_like(query)
    n, s, heads, _ = query.shape
    for b, i, h in np.ndindex(n, s, heads):
        seen = range(i + 1) if causal else range(s)
        logits = np.array([scale * query[b, i, h] @ key[b, j, h] + (0 if bias is None else bias[h, i, j]) for j in seen])
        weights = np.exp(logits - logits.max())
        result[b, i, h] = sum(w * value[b, j, h] for w, j in zip(weights / weights.sum(), seen, strict=True))
    return result


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_attention_is_the_textbook_sum(causal, biased):
    query, key, value = (random(2, 5, 3, 4, seed=seed) for seed in range(3))
    bias = random(3, 5, 5, seed=4) if biased else None
    y = attention(query, key, value, bias, causal, scale=0.7)
    np.testing.assert_allclose(y, textbook(query, key, value, bias, causal, 0.7), atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("heads_of_bias", [None, 1, 3])
def test_forms_agree_with_the_textbook(form, heads_of_bias):
    query, key, value = (random(2, 6, 3, 4, seed=seed) for seed in range(3))
    bias = None if heads_of_bias is None else random(heads_of_bias, 6, 6, seed=5)
    whole = None if bias is None else np.broadcast_to(bias, (3, 6, 6))
    np.testing.assert_allclose(
        FORMS[form](query, key, value, bias, 0.5), textbook(query, key, value, whole, scale=0.5), atol=1e-5
    )


def test_forms_have_the_gradients_of_each_other():
    parts, bias = [random(2, 6, 3, 4, seed=seed) for seed in range(3)], random(3, 6, 6, seed=5)

    def gradients(form):
        return jax.grad(lambda parts, bias: jnp.sum(form(*parts, bias, 0.5) ** 2), argnums=(0, 1))(parts, bias)

    one, other = (gradients(form) for form in FORMS.values())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, other)


@pytest.mark.parametrize("length", [255, 256])
def test_long_sequences_are_causal_too(length):
    """On a CPU 256 positions and more take the other form."""
    query, key, value = (random(1, length, 1, 4, seed=seed) for seed in range(3))
    y = attention(query, key, value, causal=True)
    np.testing.assert_allclose(y[:, :3], textbook(query[:, :3], key[:, :3], value[:, :3], causal=True), atol=1e-5)
    other = value.at[:, -1].set(9.0)
    np.testing.assert_array_equal(attention(query, key, other, causal=True)[:, :-1], y[:, :-1])


def test_half_precision_goes_in_and_comes_out():
    parts = [random(2, 8, 2, 4, seed=seed, dtype=jnp.bfloat16) for seed in range(3)]
    y = attention(*parts)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(y, np.float32), textbook(*parts), atol=2e-2)


def test_softmax_survives_large_logits():
    query = jnp.full((1, 300, 1, 4), 60.0)
    for form in FORMS.values():
        assert np.allclose(form(query, query, query), 60.0)


class Device:
    """A GPU, as far as its kind is asked."""

    def __init__(self, platform="PJRT C API\ncuda 12090", capability="9.0"):
        self.client, self.platform_version, self.compute_capability = self, platform, capability


@pytest.mark.parametrize(
    ("shape", "dtype", "device", "fused"),
    [
        ((2, 64, 8, 64), jnp.bfloat16, Device(), True),
        ((2, 1024, 8, 128), jnp.float16, Device(capability="8.0"), True),
        ((2, 1024, 8, 64), jnp.bfloat16, Device(capability="10.3"), True),
        ((2, 1024, 8, 64), jnp.float32, Device(), False),
        ((2, 63, 8, 64), jnp.bfloat16, Device(), False),
        ((2, 1024, 8, 60), jnp.bfloat16, Device(), False),
        ((2, 1024, 8, 136), jnp.bfloat16, Device(), False),
        ((2, 1024, 8, 64), jnp.bfloat16, Device(capability="7.5"), False),
        ((2, 1024, 8, 64), jnp.bfloat16, Device("rocm 60300", "gfx942"), False),
    ],
)
@pytest.mark.parametrize("biased", [False, True])
def test_the_fused_kernel_is_asked_for_what_it_can_do_only(monkeypatch, shape, dtype, device, fused, biased):
    """On a GPU of NVIDIA's, from Ampere on, in half precision, without bias; the kernel itself is a stand-in."""
    query, asked = jax.ShapeDtypeStruct(shape, dtype), []

    def kernel(query, key, value, **options):
        asked.append(options)
        return value

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [device])
    monkeypatch.setattr(jax.nn, "dot_product_attention", kernel)
    bias = jax.ShapeDtypeStruct((shape[2], shape[1], shape[1]), jnp.float32) if biased else None
    found = jax.eval_shape(lambda q, bias: attention(q, q, q, bias, causal=True, scale=0.5), query, bias)
    assert (found.shape, found.dtype) == (shape, dtype)
    expected = [{"is_causal": True, "scale": 0.5, "implementation": "cudnn"}]
    assert asked == (expected if fused and not biased else [])
