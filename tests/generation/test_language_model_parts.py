"""The sound language model: what sees what, which places rotate, digits, and conditions that are left out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_generators import config_of, model_of

from tokjax.config import ConfigError, validate
from tokjax.generation.rotation import angles, grid_places, rotated


def test_a_code_is_predicted_from_those_before_it_alone():
    model, variables = model_of("language_model")
    ids = jnp.arange(12)[None] + model.first_code
    (before,) = model.apply(variables, ids, jnp.array([-1]), method="logits")
    (after,) = model.apply(variables, ids.at[0, 7].add(3), jnp.array([-1]), method="logits")
    np.testing.assert_array_equal(before[:, :8], after[:, :8])
    assert (jnp.abs(before - after)[0, 8:].max(axis=-1) > 1e-4).all()


def test_rotated_products_depend_on_the_offset_alone():
    rng = np.random.default_rng(0)
    places = grid_places((3, 4, 5))
    turns = jnp.asarray(angles(places, 16))
    query, key = (jnp.asarray(rng.normal(size=(1, 1, 1, 16)), jnp.float32) for _ in range(2))
    spread = [jnp.broadcast_to(x, (1, len(places), 1, 16)) for x in (query, key)]
    turned = [np.asarray(rotated(x, turns))[0, :, 0] for x in spread]
    products = turned[0] @ turned[1].T
    offsets = (places[:, None] - places[None]).reshape(-1, 3)
    for offset in ((0, 0, 0), (1, 0, 0), (0, 1, -2), (1, -1, 3)):
        same = products.reshape(-1)[(offsets == offset).all(axis=1)]
        np.testing.assert_allclose(same, same[0], atol=1e-4)
    steps = [products.reshape(-1)[(offsets == step).all(axis=1)][0] for step in np.eye(3, dtype=int)]
    assert len({round(float(step), 3) for step in steps}) == 3


def test_digits_of_a_code_make_its_probability():
    """exp(-loss) of every code, summed over all codes, is 1; and logits without digits give the loss of optax."""
    model, variables = model_of("language_model", grid=(1, 1, 1), codes=12, factors=(3, 4))
    codes = jnp.arange(12).reshape(12, 1, 1, 1)

    def loss_of(code):
        batch = {"tokens": code[None], "label": jnp.array([-1])}
        return model.apply(variables, batch, jax.random.key(0), method="losses")[0]

    loss = jax.vmap(loss_of)(codes)
    np.testing.assert_allclose(jnp.exp(-loss).sum(), 1.0, rtol=1e-5)
    plain, weights = model_of("language_model")
    tokens = jnp.arange(12).reshape(1, 2, 2, 3)
    (logits,) = plain.apply(weights, tokens.reshape(1, -1) + plain.first_code, jnp.array([-1]), method="logits")
    expected = optax.softmax_cross_entropy_with_integer_labels(logits, tokens.reshape(1, -1)).mean()
    batch = {"tokens": tokens, "label": jnp.array([-1])}
    np.testing.assert_allclose(plain.apply(weights, batch, jax.random.key(0), method="losses")[0], expected, rtol=1e-6)


def test_conditions_are_left_out_sample_by_sample_in_training_only():
    model, variables = model_of("language_model", classes=3, condition_dropout=1.0)
    batch = {"tokens": jnp.zeros((2, 2, 2, 3), jnp.int32), "label": jnp.array([0, 2])}
    without = batch | {"label": jnp.array([-1, -1])}

    def loss(batch, train):
        return model.apply(variables, batch, jax.random.key(0), train, method="losses")[0]

    assert loss(batch, True) == loss(without, True) == loss(without, False) != loss(batch, False)


@pytest.mark.slow
def test_remat_computes_the_same():
    model, variables = model_of("language_model")
    again, _ = model_of("language_model", remat=True)
    batch = {"tokens": jnp.ones((1, 2, 2, 3), jnp.int32), "label": jnp.array([-1])}
    one, other = (
        jax.grad(lambda v, m=m: m.apply(v, batch, jax.random.key(0), method="losses")[0])(variables) for m in (model, again)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, other)


@pytest.mark.parametrize("mode", ["sound", "published"])
def test_labels_are_nothing_to_a_model_without_classes(mode):
    """Images in folders have labels; they must not reach the model as if they were codes."""
    model, variables = model_of("language_model", mode=mode, block="published")
    ids = jnp.arange(12)[None] + model.first_code
    one, other = (model.apply(variables, ids, jnp.array([label]), method="logits")[0] for label in (-1, 7))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(model.prefix(jnp.array([-1, 7])), [[0], [0]])


def test_a_sequence_has_as_many_slots_as_it_needs_or_more():
    for positions in (0, 12, 13):
        validate(config_of("language_model", positions=positions))
    with pytest.raises(ConfigError, match=r"config\.model\.positions is 11, but training needs 12"):
        validate(config_of("language_model", positions=11))
