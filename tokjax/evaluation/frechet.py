"""The Fréchet distance between two sets of features, as FID and FVD take it: that of the Gaussians with their moments.

d² = |m₁ - m₂|² + tr S₁ + tr S₂ - 2 tr (S₁S₂)^½ (Dowson and Landau, 1982). With any factors S = F Fᵀ the last trace is the sum of
the singular values of F₁ᵀF₂. So no root of a matrix is taken, in which noise of 1e-16 would become 1e-8 for every dimension, and
sets smaller than their dimensions need no special care: their factors are narrow. All of it is in float64, on the host.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy.linalg import lapack, svdvals

_PARTS = ("origin", "total", "squares")


@dataclasses.dataclass
class Moments:
    """Sums over features [n,d] that came in batches; sums add, so batches may be split and ordered in any way.

    Values are taken relative to a fixed point, which loses fewer digits than sums of squares around 0 would.

    Attributes:
      count: n so far.
      origin: [d], the point; the first batch's mean where none is given.
      total: [d], the sum of differences from it.
      squares: [d,d], the sum of their outer products.
    """

    count: int = 0
    origin: np.ndarray | None = None
    total: np.ndarray | None = None
    squares: np.ndarray | None = None

    def add(self, features: np.ndarray) -> None:
        """Takes in a batch [n,d].

        Raises:
          ValueError: a value that is not finite, or features of another width than before.
        """
        features = np.asarray(features, np.float64)
        if not np.isfinite(features).all():
            raise ValueError("a network that judges gave features that are not finite; look at the weights' file and the pixels")
        if not len(features):
            return
        if self.origin is None:
            width = features.shape[1]
            self.origin, self.total, self.squares = features.mean(0), np.zeros(width), np.zeros((width, width))
        if features.shape[1:] != self.origin.shape:
            raise ValueError(f"features of width {len(self.origin)} cannot be pooled with features of width {features.shape[1]}")
        shifted = features - self.origin
        self.count += len(features)
        self.total += shifted.sum(0)
        self.squares += shifted.T @ shifted

    @property
    def mean(self) -> np.ndarray:
        """[d]"""
        return self.origin + self.total / self.count

    def covariance(self, ddof: int = 1) -> np.ndarray:
        """[d,d], the sums divided by n - ddof.

        Raises:
          ValueError: fewer than two features.
        """
        if self.count < 2:
            raise ValueError(f"a distance between sets needs at least 2 samples in each, and there are {self.count}")
        offset = self.total / self.count
        return (self.squares - self.count * np.outer(offset, offset)) / (self.count - ddof)


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Moments that somebody published, in place of Moments: mean [d] and covariance [d,d] of nobody says how many features."""

    mean: np.ndarray
    given: np.ndarray
    count: None = None

    def covariance(self, ddof: int = 1) -> np.ndarray:
        """[d,d], by whatever ddof it was taken."""
        return self.given


def moments_as_arrays(moments: Mapping[str, Moments]) -> dict[str, np.ndarray]:
    """For a file, by name and part."""
    return {f"moments/{name}/{part}": getattr(one, part) for name, one in moments.items() if one.count for part in _PARTS}


def moments_from_arrays(counts: Mapping[str, int], arrays: Mapping[str, np.ndarray]) -> dict[str, Moments]:
    """Those that `moments_as_arrays` has made arrays of, over so many features."""

    def one(name: str, count: int) -> Moments:
        return Moments(count, *(arrays[f"moments/{name}/{part}"] for part in _PARTS)) if count else Moments()

    return {name: one(name, count) for name, count in counts.items()}


def frechet_distance(first: Moments, second: Moments | Gaussian, ddof: int = 1) -> float:
    """d² between the sets behind two moments."""
    return gaussian_distance(first.mean, first.covariance(ddof), second.mean, second.covariance(ddof))


def gaussian_distance(mean_1: np.ndarray, covariance_1: np.ndarray, mean_2: np.ndarray, covariance_2: np.ndarray) -> float:
    """d² between two Gaussians, means [d] and covariances [d,d] in float64.

    Raises:
      ValueError: another number of dimensions.
    """
    if mean_1.shape != mean_2.shape:
        raise ValueError(f"sets of {len(mean_1)} and of {len(mean_2)} features cannot be compared; one is of another network")
    overlap = svdvals(_factor(covariance_1).T @ _factor(covariance_2), check_finite=False).sum()
    apart = np.sum((mean_1 - mean_2) ** 2)
    return float(max(0.0, apart + np.trace(covariance_1) + np.trace(covariance_2) - 2 * overlap))


def _factor(covariance: np.ndarray) -> np.ndarray:
    """[d,r] with F Fᵀ = the covariance of any rank r: Cholesky's, largest pivots first, as far as they are not noise."""
    if not covariance.any():
        return np.zeros((len(covariance), 1))
    lower, pivots, rank, _ = lapack.dpstrf(covariance, lower=1)
    factor = np.empty((len(covariance), rank))
    factor[pivots - 1] = np.tril(lower)[:, :rank]
    return factor
