"""Precision and recall against the definition, written out in float64."""

import numpy as np
import pytest

from tokjax.evaluation.manifold import precision_recall


def brute_force(real, fake, neighbours):
    """Both shares from the matrices of all distances."""

    def distances(a, b):
        return np.sqrt(np.square(a[:, None].astype(np.float64) - b[None]).sum(-1))

    def share_within(points, centres):
        radii = np.sort(distances(centres, centres), axis=1)[:, neighbours]  # the nearest is the centre itself
        return np.mean((distances(points, centres) <= radii).any(1))

    return share_within(fake, real), share_within(real, fake)


def sets(seed, offset=0.0, n=61, m=45, width=6):
    """Non-negative, far from the origin, and with duplicates, as features are."""
    rng = np.random.default_rng(seed)
    real, fake = 50 + rng.normal(0, 1, (n, width)), 50 + offset + rng.normal(0, 0.7, (m, width))
    return np.vstack([real, real[:2]]).astype(np.float32), fake.astype(np.float32)


@pytest.mark.parametrize(("neighbours", "block"), [(3, 4096), (3, 16), (1, 7), (2, 45)])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_equals_the_definition(neighbours, block, offset):
    real, fake = sets(0, offset)
    found, expected = precision_recall(real, fake, neighbours, block), brute_force(real, fake, neighbours)
    assert found == pytest.approx(expected, abs=1e-12)
    assert min(expected) > 0 and max(expected) < 1 and expected[0] != expected[1]


def test_equal_sets_and_sets_apart():
    real, fake = sets(1)
    assert precision_recall(real, real) == (1.0, 1.0)
    assert precision_recall(real, fake + 1000, block=16) == (0.0, 0.0)


def test_a_part_of_the_references_has_all_precision_and_less_recall():
    rng = np.random.default_rng(2)
    real = np.concatenate([rng.normal(0, 1, (40, 4)), rng.normal(100, 1, (40, 4))])
    precision, recall = precision_recall(real, real[:40])
    assert precision == 1.0 and recall == 0.5


def test_what_is_refused():
    real, fake = sets(3)
    with pytest.raises(ValueError, match="need more than 3 samples in each set, and one has 3"):
        precision_recall(real, fake[:3])
    with pytest.raises(ValueError, match="width 6 cannot be compared with features of width 5"):
        precision_recall(real, fake[:, :5])
