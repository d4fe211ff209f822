"""KL: the mode without a key, the divergence in closed form, no loss outside training."""

import jax
import jax.numpy as jnp
import numpy as np

from tokjax.quantizers import KL, NoQuantizer
from tokjax.quantizers.kl import sample


def test_a_key_samples_and_none_takes_the_mean():
    z = jax.random.normal(jax.random.key(0), (2, 1, 3, 3, 6))
    key = jax.random.key(3)
    np.testing.assert_array_equal(KL()(z).latents, z[..., :3])
    np.testing.assert_array_equal(KL()(z, key).latents, sample(z, jax.random.normal(key, (2, 1, 3, 3, 3))))


def test_divergence_in_closed_form():
    z = jnp.concatenate([jnp.full((2, 1, 1, 1, 1), 2.0), jnp.full((2, 1, 1, 1, 1), jnp.log(4.0))], axis=-1)
    np.testing.assert_allclose(KL()(z, train=True).losses["kl"], 0.5 * (4 + 4 - 1 - np.log(4)), rtol=1e-6)
    assert KL()(z).losses == {}


def test_no_quantizer_passes_latents_through():
    z = jax.random.normal(jax.random.key(0), (1, 1, 2, 2, 3)).astype(jnp.bfloat16)
    result = NoQuantizer()(z, train=True)
    np.testing.assert_array_equal(result.latents, z.astype(jnp.float32))
    assert result.latents.dtype == jnp.float32 and result.indices is None
    assert result.losses == {"regularization": 0.0} and NoQuantizer()(z).losses == {}
