"""Several codebooks and projections: each group by itself gives the parts, and indices give back the latents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokjax.quantizers import FSQ, LFQ, VQ, Codebooks


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


CASES = {
    "fsq, 2 codebooks": (Codebooks((FSQ((5, 4)),) * 2), 4, 2),
    "lfq, 3 codebooks, projected": (Codebooks((LFQ(16),) * 3, 4), 5, 3),
    "vq, 2 codebooks": (Codebooks((VQ(6), VQ(6))), 4, 2),
    "vq, projected": (Codebooks((VQ(6),), 3), 4, 1),
    "vq, moving average, 2 codebooks, projected": (Codebooks((VQ(6, ema_decay=0.9), VQ(6, ema_decay=0.9)), 3), 4, 2),
}


@pytest.mark.parametrize("case", CASES)
def test_indices_give_back_what_the_decoder_got(case):
    quantizer, width, count = CASES[case]
    z = normal(0, 2, 2, 3, 3, width)
    variables = quantizer.init(jax.random.key(1), z)
    result = quantizer.apply(variables, z)
    assert result.latents.shape == z.shape
    assert result.indices.shape == ((2, 2, 3, 3) if count == 1 else (2, 2, 3, 3, count))
    assert int(result.indices.min()) >= 0 and int(result.indices.max()) < quantizer.codebook_size
    np.testing.assert_allclose(quantizer.apply(variables, result.indices, method="indices_to_latents"), result.latents, atol=1e-6)


def test_each_codebook_codes_its_own_channels():
    z = normal(0, 1, 2, 3, 3, 4)
    quantizer = Codebooks((VQ(6), VQ(6)))
    variables = quantizer.init(jax.random.key(1), z)
    whole = quantizer.apply(variables, z, train=True)
    embeddings = [variables["params"][f"codebooks_{i}"]["embeddings"] for i in (0, 1)]
    assert not np.allclose(*embeddings)
    parts = [VQ(6).apply({"params": {"embeddings": e}}, z[..., 2 * i : 2 * i + 2], train=True) for i, e in enumerate(embeddings)]
    np.testing.assert_array_equal(whole.indices, np.stack([part.indices for part in parts], axis=-1))
    np.testing.assert_array_equal(whole.latents, np.concatenate([part.latents for part in parts], axis=-1))
    for name, loss in whole.losses.items():
        np.testing.assert_allclose(loss, np.mean([part.losses[name] for part in parts]), rtol=1e-6)


def test_projections_are_linear_layers_around_the_codes():
    z = normal(0, 1, 1, 3, 3, 2)
    quantizer = Codebooks((LFQ(8),), 3)
    variables = quantizer.init(jax.random.key(1), z)
    variables = jax.tree.map(lambda leaf: leaf + 0.1, variables)  # biases start at zero
    layers = variables["params"]
    inside = LFQ(8)(z @ layers["project_in"]["kernel"] + layers["project_in"]["bias"], train=True)
    expected = inside.latents @ layers["project_out"]["kernel"] + layers["project_out"]["bias"]
    result = quantizer.apply(variables, z, train=True)
    np.testing.assert_array_equal(result.indices, inside.indices)
    np.testing.assert_allclose(result.latents, expected, atol=1e-5)
    for name in inside.losses:
        np.testing.assert_allclose(result.losses[name], inside.losses[name], rtol=1e-4)


def test_codebooks_draw_different_vectors_and_all_learn():
    options = {"ema_decay": 0.9, "data_init": True}
    z = jnp.tile(normal(0, 1, 1, 6, 6, 2), 2)  # both groups see the same vectors
    quantizer = Codebooks((VQ(4, **options), VQ(4, **options)))
    variables = quantizer.init(jax.random.key(1), z)
    _, changed = quantizer.apply(variables, z, jax.random.key(2), True, mutable=["codebook"])
    first, second = (changed["codebook"][f"codebooks_{i}"] for i in (0, 1))
    assert first["initialized"] and second["initialized"]
    assert not np.allclose(first["embeddings"], second["embeddings"])
