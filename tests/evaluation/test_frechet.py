import numpy as np
import pytest

from tokjax.evaluation.frechet import Moments, frechet_distance, gaussian_distance


def moments(features, cuts=()):
    found = Moments()
    for part in np.split(features, cuts):
        found.add(part)
    return found


def by_eigenvalues(a, b):
    """The form with the eigenvalues of a product, exact where neither set is degenerate."""
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    roots = np.sqrt(np.maximum(np.linalg.eigvals(s1 @ s2).real, 0))
    return np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(s1) + np.trace(s2) - 2 * roots.sum()


def sets(n, d, seed=0):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(d, d)) / d**0.5
    return rng.normal(size=(n, d)) @ mix + 3.0, rng.normal(size=(n, d)) @ mix * 1.1


def test_the_eigenvalue_form():
    a, b = sets(300, 40)
    assert frechet_distance(moments(a), moments(b)) == pytest.approx(by_eigenvalues(a, b), rel=1e-9)


def test_one_dimension_by_hand():
    """(difference of means)² + (difference of standard deviations)²."""
    a, b = np.array([[0.0], [2.0]]), np.array([[5.0], [9.0]])
    assert frechet_distance(moments(a), moments(b), ddof=0) == pytest.approx(6**2 + (2 - 1) ** 2)


def test_fewer_samples_than_dimensions_by_the_nuclear_norm():
    a, b = sets(12, 200)
    x, y = (one - one.mean(0) for one in (a, b))
    overlap = np.linalg.norm(x @ y.T, "nuc") / 11
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + (np.sum(x**2) + np.sum(y**2)) / 11 - 2 * overlap
    assert frechet_distance(moments(a), moments(b)) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(moments(a), moments(a)) == pytest.approx(0, abs=1e-9)


def test_how_batches_are_cut_does_not_matter():
    a, b = sets(50, 8)
    whole = frechet_distance(moments(a), moments(b))
    assert frechet_distance(moments(a, (1, 2, 30)), moments(b[::-1], (25,))) == pytest.approx(whole, rel=1e-12)


def test_large_means_lose_no_digits():
    a, b = sets(50, 8)
    far = frechet_distance(moments(a + 1e6, (10,)), moments(b + 1e6, (20,)))
    assert far == pytest.approx(frechet_distance(moments(a), moments(b)), rel=1e-6)


def test_a_set_without_variation():
    still = np.ones((5, 3))
    a, _ = sets(50, 3)
    expected = np.sum((a.mean(0) - 1) ** 2) + np.trace(np.cov(a, rowvar=False))
    assert frechet_distance(moments(still), moments(a)) == pytest.approx(expected, rel=1e-12)


def test_what_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        Moments().add(np.array([[1.0, np.nan]]))
    with pytest.raises(ValueError, match="width 3 cannot be pooled with features of width 4"):
        moments(np.ones((2, 3))).add(np.ones((1, 4)))
    with pytest.raises(ValueError, match="at least 2 samples in each, and there are 1"):
        moments(np.ones((1, 3))).covariance()
    with pytest.raises(ValueError, match="sets of 2 and of 3 features"):
        gaussian_distance(np.zeros(2), np.eye(2), np.zeros(3), np.eye(3))


@pytest.mark.slow
def test_2048_dimensions_by_the_exact_eigenvalues():
    a, b = sets(2500, 2048)
    one, other = moments(a), moments(b)
    found = frechet_distance(one, other)
    root = np.linalg.eigh(one.covariance())
    half = (root[1] * np.sqrt(np.maximum(root[0], 0))) @ root[1].T
    overlap = np.sqrt(np.maximum(np.linalg.eigvalsh(half @ other.covariance() @ half), 0)).sum()
    traces = np.trace(one.covariance()) + np.trace(other.covariance())
    assert found == pytest.approx(np.sum((one.mean - other.mean) ** 2) + traces - 2 * overlap, rel=1e-6)
