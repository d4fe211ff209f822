"""The batch of a model of tokens: its classes, and how it lies on the mesh."""

import jax
import numpy as np
import pytest

from tokjax.data.records import DataError
from tokjax.generation.live_tokens import check_labels
from tokjax.models.mesh import make_mesh
from tokjax.training.generative import global_tokens


@pytest.mark.parametrize(
    ("labels", "message"), [([0, 3], "a sample is of class 3, but config"), ([1, -1], "a sample has no class")]
)
def test_classes_that_the_model_has_not(labels, message):
    with pytest.raises(DataError, match=message):
        check_labels(3, np.array(labels))


def test_classes_that_it_has():
    check_labels(3, np.array([0, 2]))
    check_labels(0, np.array([-1, 7]))  # without classes they do not matter


def test_a_batch_goes_to_the_devices_whole():
    mesh = make_mesh({"data": -1, "fsdp": 1, "context": 1})
    tokens = np.arange(4 * jax.device_count()).reshape(-1, 1, 2, 2)
    batch = global_tokens(mesh, tokens, np.arange(len(tokens)))
    np.testing.assert_array_equal(batch["tokens"], tokens)
    assert batch["label"].dtype == np.int32 and len(batch["tokens"].sharding.device_set) == jax.device_count()
