"""Patterns for names of arrays, and what is said where one matches nothing."""

import jax
import numpy as np
import pytest

from tokjax.training.paths import matching, names, require_matches

TREE = {
    "encoder": {"conv_in": {"kernel": 0, "bias": 1}, "level_0": {"kernel": 2}, "level_1": {"kernel": 3}},
    "decoder": {"conv_in": {"kernel": 4, "bias": 5}},
}
NAMES = [
    *("decoder/conv_in/bias", "decoder/conv_in/kernel", "encoder/conv_in/bias", "encoder/conv_in/kernel"),
    *("encoder/level_0/kernel", "encoder/level_1/kernel"),
]


def test_names_are_in_the_order_of_the_leaves():
    assert names(TREE) == NAMES
    assert [jax.tree.leaves(TREE)[NAMES.index(name)] for name in ("encoder/level_1/kernel", "decoder/conv_in/kernel")] == [3, 4]


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        ((), []),
        (("encoder",), NAMES[2:]),
        (("encoder/*",), NAMES[2:]),
        (("*/conv_in",), NAMES[:4]),
        (("*/bias",), [NAMES[0], NAMES[2]]),
        (("encoder/level_?",), NAMES[4:]),
        (("encoder/level_[1-9]", "decoder/conv_in/bias"), [NAMES[0], NAMES[5]]),
        (("*",), NAMES),
        (("coder", "encode", "conv_in", "level_0/kernel", "ENCODER"), []),
    ],
)
def test_a_pattern_stands_for_arrays_and_for_all_below_a_module(patterns, chosen):
    mask = matching(TREE, patterns)
    assert jax.tree.structure(mask) == jax.tree.structure(TREE)
    assert [name for name, one in zip(NAMES, jax.tree.leaves(mask), strict=True) if one] == chosen


def test_a_pattern_that_matches_nothing_is_refused_with_the_nearest_names():
    require_matches(NAMES, ("encoder", "*/bias"), "a key")
    sentence = r"^config.optimizer.freeze has the pattern 'encodr/level_0', which matches no parameter; names like it: (.*)$"
    with pytest.raises(ValueError, match=sentence) as caught:
        require_matches(NAMES, ("encoder", "encodr/level_0"), "config.optimizer.freeze")
    assert "encoder/level_0" in str(caught.value).rpartition(": ")[2].split(", ")
    with pytest.raises(ValueError, match=r"names like it: decoder/conv_in/bias$"):
        require_matches(NAMES, ("0123456789",), "a key")


def test_arrays_as_well_as_shapes_have_names():
    shapes = jax.eval_shape(lambda: jax.tree.map(np.float32, TREE))
    assert names(shapes) == NAMES
