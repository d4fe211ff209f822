"""The Inception Score (Salimans et al., arXiv 1606.03498): exp of the mean divergence of each image's classes from those of all.

It is taken within parts of the set and then over them. Who publishes it cuts the set in one of two ways, which give different
numbers: equal parts (`equal_parts`), or parts of so many images (`parts_of`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class InceptionScore:
    """Gathers logits in batches; memory is that of the parts, whatever the number of images."""

    def __init__(self, parts: np.ndarray, classes: int = 1008) -> None:
        """`parts`: int [n], the part that each image belongs to, in the order in which they will come."""
        self._parts, self._seen = np.asarray(parts), 0
        count = int(self._parts.max(initial=0)) + 1
        self._counts, self._negative_entropy = np.zeros(count), np.zeros(count)
        self._shares = np.zeros((count, classes))

    def add(self, logits: np.ndarray) -> None:
        """Logits [n,classes] of the next images, without bias. Raises ValueError where more come than were announced."""
        logits = np.asarray(logits, np.float64)
        parts = self._parts[self._seen : self._seen + len(logits)]
        if len(parts) < len(logits):
            raise ValueError(f"the Inception Score was set up for {len(self._parts)} images, and more have come")
        self._seen += len(logits)
        shifted = logits - logits.max(1, keepdims=True)
        log_shares = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        shares = np.exp(log_shares)
        np.add.at(self._counts, parts, 1)
        np.add.at(self._negative_entropy, parts, (shares * log_shares).sum(1))
        np.add.at(self._shares, parts, shares)

    def state(self) -> dict[str, np.ndarray]:
        """What has been gathered, for `restore`."""
        sums = {"counts": self._counts, "negative_entropy": self._negative_entropy, "shares": self._shares}
        return {"seen": np.array(self._seen), **sums}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Goes on from there."""
        self._seen, self._shares = int(state["seen"]), state["shares"]
        self._counts, self._negative_entropy = state["counts"], state["negative_entropy"]

    def result(self) -> tuple[float, float]:
        """Mean and standard deviation over the parts (that of the parts themselves, not of an estimate)."""
        used = self._counts > 0  # a part may have lost all of its images
        counts, shares = self._counts[used], self._shares[used]
        mean = shares / counts[:, None]
        entropy = -(mean * np.log(np.where(mean > 0, mean, 1.0))).sum(1)
        scores = np.exp(self._negative_entropy[used] / counts + entropy)
        return float(scores.mean()), float(scores.std())


def equal_parts(count: int, parts: int = 10, seed: int | None = None) -> np.ndarray:
    """int [count]: parts with the bounds i * count // parts, as in torch-fidelity, which shuffles first (seed 2020).

    Raises:
      ValueError: fewer images than parts.
    """
    if count < parts:
        raise ValueError(f"the Inception Score over {parts} parts needs at least as many images, and there are {count}")
    bounds = np.arange(1, parts) * count // parts
    in_order = np.searchsorted(bounds, np.arange(count), side="right")
    if seed is None:
        return in_order
    result = np.empty(count, np.int64)
    result[np.random.RandomState(seed).permutation(count)] = in_order
    return result


def parts_of(count: int, size: int = 5000) -> np.ndarray:
    """int [count]: consecutive parts of `size` images, the last with what remains, as in the evaluator of ADM."""
    return np.arange(count) // size
