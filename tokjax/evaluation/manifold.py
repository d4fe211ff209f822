"""Improved precision and recall (Kynkäänniemi et al., arXiv 1904.06991): how much of one set lies within the manifold of another.

The manifold of a set is the union of balls around its members, each as wide as the distance to its third nearest neighbour in the
set, itself left out. Precision is the share of samples within the manifold of the references, recall the share of references
within that of the samples. Distances are taken block by block on the device: memory is that of two blocks, whatever the sets.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

NEIGHBOURS = 3
BLOCK = 4096


def precision_recall(
    references: np.ndarray, samples: np.ndarray, neighbours: int = NEIGHBOURS, block: int = BLOCK
) -> tuple[float, float]:
    """Both shares, of features [n,d] and [m,d].

    Args:
      block: rows of a set that are compared at a time.

    Raises:
      ValueError: features of different widths, or a set without so many neighbours.
    """
    if references.shape[1] != samples.shape[1]:
        raise ValueError(f"features of width {references.shape[1]} cannot be compared with features of width {samples.shape[1]}")
    fewest = min(len(references), len(samples))
    if fewest <= neighbours:
        raise ValueError(f"precision and recall need more than {neighbours} samples in each set, and one has {fewest}")
    centre = references.mean(0, dtype=np.float64)  # small values make for small errors of distances
    real, fake = (_Blocks(features - centre, block) for features in (references, samples))
    real_radii, fake_radii = real.radii(neighbours), fake.radii(neighbours)
    fake_inside, real_inside = np.zeros(len(fake_radii), bool), np.zeros(len(real_radii), bool)
    for at, part in fake:
        for other, real_part in real:
            inside = _inside(part, fake_radii[at], real_part, real_radii[other])
            fake_inside[at] |= np.asarray(inside[0])
            real_inside[other] |= np.asarray(inside[1])
    return float(fake_inside[: len(samples)].mean()), float(real_inside[: len(references)].mean())


class _Blocks:
    """Features [n,d] in blocks of one size, the last filled up with rows that are of no set."""

    def __init__(self, features: np.ndarray, block: int) -> None:
        self._count, self._size = len(features), min(block, len(features))
        missing = -len(features) % self._size
        self._features = np.pad(features.astype(np.float32), ((0, missing), (0, 0)))

    def __iter__(self):
        """(the block's rows, their features [size,d])"""
        for begin in range(0, len(self._features), self._size):
            rows = slice(begin, begin + self._size)
            yield rows, self._features[rows]

    def radii(self, neighbours: int) -> np.ndarray:
        """Squared distances to the n-th nearest neighbour, float32; of rows that are of no set -1, so that nothing is near."""
        found = np.empty(len(self._features), np.float32)
        for at, part in self:
            nearest = jnp.full((self._size, neighbours), jnp.inf)
            for other, other_part in self:
                nearest = _nearest(nearest, part, other_part, at.start, other.start, self._count)
            found[at] = nearest[:, -1]
        found[self._count :] = -1
        return found


def _squared_distances(x: jax.Array, y: jax.Array) -> jax.Array:
    """[n,d] and [m,d] -> [n,m]"""
    with jax.default_matmul_precision("highest"):
        overlap = x @ y.T
    return jnp.maximum(jnp.square(x).sum(1)[:, None] + jnp.square(y).sum(1) - 2 * overlap, 0)


@jax.jit
def _nearest(nearest: jax.Array, x: jax.Array, y: jax.Array, x_begin: int, y_begin: int, count: int) -> jax.Array:
    """The smallest distances [n,k] so far and those from the rows of x to those of y, which are rows of one set of `count`."""
    others = y_begin + jnp.arange(len(y))
    itself = (x_begin + jnp.arange(len(x)))[:, None] == others
    distances = jnp.where(itself | (others >= count), jnp.inf, _squared_distances(x, y))
    smallest, _ = jax.lax.top_k(-jnp.concatenate([nearest, distances], axis=1), nearest.shape[1])
    return -smallest


@jax.jit
def _inside(x: jax.Array, x_radii: jax.Array, y: jax.Array, y_radii: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Which rows of x lie in a ball around a row of y, and which of y in one around a row of x."""
    distances = _squared_distances(x, y)
    return (distances <= y_radii).any(1), (distances <= x_radii[:, None]).any(0)
