"""Golden files of metrics: rebuilding the seeded weights of the networks that judge, and reading them as a user would."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tokjax.conversion.judging_networks import convert_network
from tokjax.evaluation.networks import Weights

_KINDS = {
    "weight": lambda n, shape: n * np.sqrt(2 / np.prod(shape[1:])),
    "bias": lambda n, _: 0.05 * n,
    "gamma": lambda n, _: 1 + 0.1 * n,
    "beta": lambda n, _: 0.1 * n,
    "mean": lambda n, _: 0.1 * n,
    "var": lambda n, _: 0.5 + np.abs(n),
    "lin": lambda n, shape: np.abs(n) / (shape[1] if len(shape) > 1 else 1),
}


def state_dict(data) -> dict[str, np.ndarray]:
    """The weights under their published names: one stream of numbers, in the order of the sorted names."""
    keys, kinds = ([str(text) for text in data[name]] for name in ("w_keys", "w_kinds"))
    random, weights = np.random.RandomState(int(data["w_seed"])), {}
    for key, shape, kind in zip(keys, json.loads(str(data["w_shapes"])), kinds, strict=True):
        weights[key] = _KINDS[kind](random.standard_normal(tuple(shape)), shape).astype(np.float32)
    first = np.array([weights[key].ravel()[0] for key in keys], np.float32)
    assert np.array_equal(first, data["w_check_first"]), "these are not the weights that the original ran with"
    return weights


def converted(network: str, state: dict[str, np.ndarray], place: Path) -> Weights:
    """Through `tokjax convert perceptual`'s files."""
    np.savez(place / "source.npz", **state)
    convert_network(network, place / "source.npz", place / f"{network}.npz")
    return Weights(place / f"{network}.npz")


def cases(data) -> list[str]:
    return [str(name) for name in data["cases"]]


def relative(ours, theirs) -> float:
    """The distance of two arrays in units of the second's length."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
