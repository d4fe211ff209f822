"""Validation of models of tokens: records that cannot be used, and classes that the model has not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_generators import model_of

from tokjax.data.records import DataError, Record
from tokjax.data.tokens import token_record
from tokjax.generation.validation import validate_generator
from tokjax.models.mesh import make_mesh

BROKEN = Record("broken", "tokens", b"nothing")


class Listed(list):
    """Records as a source."""

    def record(self, index):
        return self[index]


def judged(records, **changes):
    model, variables = model_of("language_model", **changes)
    mesh = make_mesh({"data": -1})
    streams = {"held": {"batch": 8, "path": "here"}}
    return model, variables, validate_generator(model, variables, None, None, streams, mesh, lambda _: Listed(records))["held"]


def tokens(seed, label=None):
    return token_record(str(seed), np.random.default_rng(seed).integers(20, size=(2, 2, 3)), label)


def test_the_last_records_may_be_broken():
    model, variables, scores = judged([tokens(0), tokens(1), BROKEN, BROKEN])
    both = np.stack([np.random.default_rng(seed).integers(20, size=(2, 2, 3)) for seed in (0, 1)])
    batch = {"tokens": jnp.asarray(both), "label": jnp.array([-1, -1])}
    expected = model.apply(variables, batch, jax.random.key(0), False, method="losses")[0]
    np.testing.assert_allclose(scores["loss"], expected, rtol=1e-5)
    share = np.unique(both, return_counts=True)[1] / both.size
    np.testing.assert_allclose(scores["unigram_entropy"], -(share * np.log(share)).sum(), rtol=1e-6)


def test_nothing_to_judge_on():
    with pytest.raises(DataError, match="no record of here can be used"):
        judged([BROKEN])


def test_classes_that_the_model_has_not():
    for label, sentence in ((3, "a sample is of class 3"), (None, "a sample has no class")):
        with pytest.raises(DataError, match=sentence):
            judged([tokens(0, label)], classes=3)
