"""Every quantizer comes from its config, and configs that cannot work are refused."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokjax.config import ConfigError, defaults, validate
from tokjax.models.tokenizer import build
from tokjax.quantizers import FSQ, KL, LFQ, VQ, Codebooks, GridLosses, NoQuantizer, Quantizer, make_quantizer

MOVING = {"ema_decay": 0.99, "codebook_weight": 0.0}


def config_of(latent_channels=4, **changes):
    config = defaults()
    config.model.latent_channels = latent_channels
    config.model.quantizer.update(changes)
    return config


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "kl"}, KL()),
        ({"name": "none"}, NoQuantizer()),
        ({"name": "fsq", "levels": (8, 8, 8, 8)}, FSQ((8, 8, 8, 8))),
        (
            {"name": "fsq", "levels": (8, 8, 8, 8), "entropy_weight": 0.0, "commitment_weight": 0.0},
            FSQ((8, 8, 8, 8), GridLosses(entropy_weight=0.0, commitment_weight=0.0)),
        ),
        ({"name": "fsq", "levels": (8, 5), "num_codebooks": 2}, Codebooks((FSQ((8, 5)), FSQ((8, 5))))),
        ({"name": "fsq", "levels": (8, 5, 5), "codebook_width": 3}, Codebooks((FSQ((8, 5, 5)),), 3)),
        ({"name": "lfq", "codebook_size": 16, "diversity_gamma": 2.0}, LFQ(16, GridLosses(diversity_gamma=2.0))),
        ({"name": "lfq", "codebook_size": 2**18, "codebook_width": 18}, Codebooks((LFQ(2**18),), 18)),
        ({"name": "vq", "codebook_size": 9}, VQ(9)),
        (
            {"name": "vq", "codebook_size": 9, "l2_codes": True, "data_init": True, "restart_threshold": 1.0, **MOVING},
            VQ(9, True, 0.25, 0.0, 0.99, True, 1.0),
        ),
        ({"name": "vq", "codebook_size": 9, "codebook_width": 3, "num_codebooks": 2}, Codebooks((VQ(9), VQ(9)), 3)),
    ],
)
def test_config_makes(changes, expected):
    config = config_of(**changes)
    validate(config)
    made = make_quantizer(config.model.quantizer)
    assert made == expected
    assert made.moments_per_latent == (2 if changes["name"] == "kl" else 1)
    assert hash(made) == hash(expected)  # a static argument of jit


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "fsqq"}, r"quantizer.name must be one of kl, fsq, lfq, vq, none, not 'fsqq'; did you mean 'fsq'\?"),
        ({"name": "fsq", "levels": (8, 8)}, "levels has 2 entries, but fsq needs one for each of the 4 latent channels"),
        ({"name": "fsq", "levels": (8,) * 4, "num_codebooks": 2}, "levels has 4 entries, .* each of the 2 channels of a code"),
        ({"name": "fsq", "levels": (8,) * 4, "codebook_size": 4096}, "codebook_size is not read by fsq"),
        (
            {"name": "fsq", "levels": (8,) * 2, "num_codebooks": 3},
            "num_codebooks is 3, which does not divide the 4 latent channels",
        ),
        ({"name": "lfq", "codebook_size": 17}, r"codebook_size is 17, but lfq has 2 \*\* 4 = 16 codes of 4 channels"),
        ({"name": "lfq", "codebook_size": 2**31, "codebook_width": 31}, r"at most 2 \*\* 30"),
        ({"name": "lfq", "codebook_size": 16, "levels": (2,) * 4}, "levels is read by fsq only; leave it empty for lfq"),
        ({"name": "kl", "num_codebooks": 2}, "name is 'kl', which has no codes: leave num_codebooks at 1"),
        ({"name": "none", "codebook_width": 8}, "name is 'none', which has no codes"),
        ({"name": "vq"}, "codebook_size is 0, but vq needs from 2 to"),
        ({"name": "vq", "codebook_size": 8, "num_codebooks": 0}, "needs num_codebooks of at least 1"),
        ({"name": "vq", "codebook_size": 8, "ema_decay": 1.0, "codebook_weight": 0.0}, "ema_decay must be 0 or more and below 1"),
        (
            {"name": "vq", "codebook_size": 8, "ema_decay": 0.99},
            "both ema_decay 0.99 and codebook_weight 1.0: .* set one of the two to 0",
        ),
        ({"name": "vq", "codebook_size": 8, "data_init": True}, "data_init and restart_threshold work on moving averages only"),
        ({"name": "vq", "codebook_size": 8, "restart_threshold": 1.0}, "work on moving averages only; set ema_decay"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(changes, sentence):
    with pytest.raises(ConfigError, match=sentence) as caught:
        validate(config_of(**changes))
    assert "\n" not in str(caught.value)


def test_a_name_that_is_none_of_them():
    with pytest.raises(ValueError, match="must be one of kl, fsq, lfq, vq, none, not 'pq'"):
        make_quantizer(config_of(name="pq").model.quantizer)


class Model(nn.Module):
    """What holds a quantizer in a field, as the models do."""

    quantizer: Quantizer

    def setup(self):
        self.encoder = nn.Dense(4)

    def __call__(self, x, rng=None, train=False):
        return self.quantizer(self.encoder(x), rng, train, 0)


PROJECTED = {"name": "vq", "codebook_size": 9, "codebook_width": 3, "num_codebooks": 2, "data_init": True, **MOVING}


def test_a_codebook_inside_a_model_learns_and_decodes():
    model = Model(make_quantizer(config_of(**PROJECTED).model.quantizer))
    x = jax.random.normal(jax.random.key(0), (1, 2, 3, 3, 5))
    variables = model.init(jax.random.key(1), x)
    found, changed = model.apply(variables, x, jax.random.key(2), True, mutable=["codebook"])
    assert np.isfinite(found.losses["regularization"]) and found.latents.shape == (1, 2, 3, 3, 4)
    assert all(one["initialized"] for one in changed["codebook"]["quantizer"].values())
    variables |= changed
    encoded = model.apply(variables, x)
    inside = {name: tree["quantizer"] for name, tree in variables.items()}
    back = model.quantizer.apply(inside, encoded.indices, method="indices_to_latents")
    np.testing.assert_allclose(back, encoded.latents, atol=1e-6)


def test_vidtok_keeps_the_codebook_beside_its_parameters():
    config = config_of(**PROJECTED)
    config.model.update({"channels": 4, "channel_multipliers": (1, 1), "blocks_per_level": 1, "time_factor": 2})
    model = build(config.model)
    variables = jax.eval_shape(model.init, jax.random.key(1), jnp.zeros((1, 3, 4, 4, 3)))
    assert set(variables) == {"params", "codebook"}
    assert set(variables["params"]) == {"encoder", "decoder", "quantizer"}
    shapes = jax.tree.map(lambda leaf: leaf.shape, variables["codebook"]["quantizer"]["codebooks_1"])
    assert shapes == {"embeddings": (9, 3), "counts": (9,), "sums": (9, 3), "usage": (9,), "initialized": ()}
