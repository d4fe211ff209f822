"""Drawing codes: with memory as without it, filters against brute force, and each sample on its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_generators import keys, model_of

from tokjax.generation.filters import Drawing, nucleus, to_draw_from, top
from tokjax.generation.token_sampling import sample_codes

KINDS = {
    "modern": {"classes": 3},
    "digits": {"classes": 3, "factors": (4, 5)},
    "published": {"classes": 3, "mode": "published", "block": "published", "start_token": True},
    "unconditional": {"mode": "published", "block": "published"},
}


def most_likely(model, variables, labels, count):
    """Codes int [b,count], each chosen from a forward pass over all that came before."""
    ids = jnp.full((len(labels), model.tokens), model.first_code)
    logits = jax.jit(lambda ids: model.apply(variables, ids, labels, method="logits"))
    digits = jax.jit(lambda ids: model.apply(variables, ids, method=lambda m, ids: m.words.digits(ids)))
    for place in range(count):
        code = jnp.zeros(len(labels), int)
        for number in range(len(logits(ids))):  # a digit is chosen with those before it in place
            best = jnp.argmax(logits(ids)[number][:, place], axis=-1)
            if model.mode == "published":
                code = best
                ids = ids.at[:, place].set(code)
                continue
            bases = model.factors or (model.codes,)
            weight = int(np.prod(bases[number + 1 :]))
            old = digits(ids)[number][:, place]
            ids = ids.at[:, place].add((best - old) * weight)
    return ids[:, :count] - model.first_code


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_with_memory_is_greedy_without(kind):
    model, variables = model_of("language_model", **KINDS[kind])
    labels = jnp.array([0, 2] if model.classes else [-1, -1])
    ours = sample_codes(model, variables, labels, keys(2), Drawing(greedy=True))
    assert ours.shape == (2, model.tokens)
    expected = jnp.clip(most_likely(model, variables, labels, model.tokens), 0, model.codes - 1)
    np.testing.assert_array_equal(ours, expected)


def test_a_sample_depends_on_its_own_key_and_label_alone():
    model, variables = model_of("language_model", classes=3)
    how = Drawing(temperature=1.5, top_k=10, guidance=0.5)
    labels = jnp.array([0, 1, 2])
    together = sample_codes(model, variables, labels, keys(3), how)
    alone = sample_codes(model, variables, labels[1:2], keys(3)[1:2], how)
    np.testing.assert_array_equal(together[1], alone[0])
    assert (together != sample_codes(model, variables, labels, keys(3, seed=1), how)).any()


def test_codes_that_are_given_stay_and_the_rest_follows_from_them():
    model, variables = model_of("language_model")
    labels, how = jnp.array([-1, -1]), Drawing(greedy=True)
    whole = sample_codes(model, variables, labels, keys(2), how)
    again = sample_codes(model, variables, labels, keys(2), how, given=whole[:, :6])
    np.testing.assert_array_equal(again, whole)
    other = sample_codes(model, variables, labels, keys(2), how, given=(whole[:, :6] + 1) % 20)
    np.testing.assert_array_equal(other[:, :6], (whole[:, :6] + 1) % 20)
    with pytest.raises(ValueError, match="12 codes are given, but a sample has 12"):
        sample_codes(model, variables, labels, keys(2), how, given=whole)


def test_samples_have_the_distribution_of_the_model():
    """One code of three: frequencies of many samples against the model's probabilities."""
    model, variables = model_of("language_model", grid=(1, 1, 1), codes=4, factors=(2, 2))
    count = 4000
    drawn = sample_codes(model, variables, jnp.full(count, -1), keys(count), Drawing())
    high, low = (model.apply(variables, jnp.array([[code]]) + 1, jnp.array([-1]), method="logits") for code in (0, 2))
    first, given = jax.nn.softmax(high[0][0, 0]), [jax.nn.softmax(one[1][0, 0]) for one in (high, low)]
    expected = np.concatenate([first[0] * given[0], first[1] * given[1]])
    found = np.bincount(np.asarray(drawn)[:, 0], minlength=4) / count
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_top_k_and_nucleus_against_brute_force():
    rng = np.random.default_rng(0)
    for count, share in ((0, 1.0), (3, 1.0), (0, 0.6), (7, 0.5), (99, 0.9)):
        logits = rng.normal(size=(5, 12)).astype(np.float32)
        kept = np.isfinite(nucleus(top(jnp.asarray(logits), count), share))
        for row, mask in zip(logits, kept, strict=True):
            order = np.argsort(-row)[: count or None]
            probability = np.exp(row[order]) / np.exp(row[order]).sum()
            expected = {int(one) for place, one in enumerate(order) if probability[:place].sum() <= share}
            assert set(np.flatnonzero(mask).tolist()) == expected


def test_guidance_mixes_both_branches():
    both = jnp.array([[1.0, 2.0], [3.0, 1.0]])
    np.testing.assert_allclose(to_draw_from(both, Drawing(guidance=0.5, temperature=2), 0), [[0.0, 1.25]])
    np.testing.assert_allclose(to_draw_from(both, Drawing(guidance=0.5, guidance_grows=True), 2), [[-1.0, 3.0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; give a value above 0"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_p": 0.0}, "top_p above 0"),
        ({"guidance": -1.0}, "guidance is -1.0"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        Drawing(**options)


def test_guidance_of_a_model_without_classes():
    model, variables = model_of("language_model")
    with pytest.raises(ValueError, match="guidance needs a model of classes"):
        sample_codes(model, variables, jnp.array([-1]), keys(1), Drawing(guidance=1.0))
