"""Rules of the mesh that need one device only; tests/devices has those that need more."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from tokjax.models.mesh import _mesh_shape, make_mesh
from tokjax.training.sharding import _spec, global_batch


@pytest.mark.parametrize(
    ("sizes", "count", "shape"),
    [
        ([-1, 1, 1, 1], 8, (8, 1, 1, 1)),
        ([-1, 4, 1, 1], 8, (2, 4, 1, 1)),
        ([2, 2, -1, 1], 8, (2, 2, 2, 1)),
        ([3, 1, 2, 1], 6, (3, 1, 2, 1)),
        ([1, 2, 1, -1], 8, (1, 2, 1, 4)),
    ],
)
def test_mesh_shapes(sizes, count, shape):
    assert _mesh_shape(sizes, count) == shape


@pytest.mark.parametrize("sizes", [[3, 1, 1, 1], [-1, 3, 1, 1], [4, 1, 1, 1], [16, 1, 1, 1], [-1, 16, 1, 1], [-1, 1, 1, 3]])
def test_a_mesh_that_does_not_fit_says_which_numbers_do(sizes):
    with pytest.raises(ValueError, match=r"does not fit 8 devices: each size must be one of 1, 2, 4, 8, their product must be 8"):
        _mesh_shape(sizes, 8)


@pytest.mark.parametrize("sizes", [[-1, -1, 1, 1], [0, 1, 1, 1], [-2, 1, 1, 1], [1, 1, 1, 0]])
def test_sizes_that_mean_nothing_are_refused(sizes):
    with pytest.raises(ValueError, match="at most one is -1"):
        _mesh_shape(sizes, 8)


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((3, 3, 3, 128, 256), (None, None, None, None, "fsdp")),
        ((3, 3, 256, 128), (None, None, "fsdp", None)),
        ((128, 128), (None, "fsdp")),  # equal: output channels
        ((128, 131), ("fsdp", None)),  # the larger one does not divide
        ((131, 131), ()),  # neither divides
        ((512,), ()),  # small
        ((), ()),
    ],
)
def test_large_arrays_are_split_along_their_largest_divisible_axis(shape, spec):
    assert _spec(shape, 4) == PartitionSpec(*spec)
    assert _spec(shape, 1) == PartitionSpec()


def test_one_device_holds_the_whole_batch():
    mesh = make_mesh({"data": -1, "fsdp": 1, "context": 1}, jax.devices()[:1])
    video = np.random.default_rng(0).integers(0, 256, (3, 2, 4, 5, 3), np.uint8)
    placed = global_batch(mesh, video)
    assert placed.dtype == np.uint8
    np.testing.assert_array_equal(placed, video)
