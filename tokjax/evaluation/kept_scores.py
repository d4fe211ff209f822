"""Scores and moments in files: of an evaluation that was interrupted, and of originals, which many evaluations share.

Files are .npz without pickles. Each bears a label, everything that its numbers depend on; a file of another label is not used.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from tokjax.evaluation.frechet import Moments, moments_as_arrays, moments_from_arrays

SECONDS_BETWEEN_SAVES = 60.0
Label = Mapping[str, Any]


class Gathered(Protocol):
    """What an evaluation gathers of a stream."""

    def flattened(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """All of it, as values for JSON and arrays."""

    def restored(self, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """One with what `flattened` gave; the rest is its own."""


T = TypeVar("T", bound=Gathered)


class StatisticsError(ValueError):
    """A file of statistics that is damaged or of something else; the message is one sentence."""


@dataclasses.dataclass(frozen=True)
class Statistics:
    """What is kept of the originals, by metric.

    Attributes:
      moments: of all of them.
      features: float32 [n,d] of some, where precision and recall were asked for.
    """

    moments: Mapping[str, Moments]
    features: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def save_statistics(path: Path, found: Statistics, label: Label) -> None:
    """Writes them, whole or not at all."""
    counts = {name: one.count for name, one in found.moments.items()}
    features = {f"features/{name}": one for name, one in found.features.items()}
    _write(path, {"label": dict(label), "counts": counts}, moments_as_arrays(found.moments) | features)


def read_statistics(path: Path) -> tuple[Statistics, dict[str, Any]]:
    """The statistics in a file, and its label.

    Raises:
      StatisticsError: it is damaged, or no such file. OSError: it is not there.
    """
    about, arrays = _read(path)
    if "metric" not in about.get("label", ()):
        raise StatisticsError(f"{path} holds no statistics of originals; those that an evaluation kept lie in its --cache")
    features = {name.partition("/")[2]: one for name, one in arrays.items() if name.startswith("features/")}
    return Statistics(moments_from_arrays(about["counts"], arrays), features), about["label"]


def load_statistics(path: Path, label: Label) -> Statistics:
    """The statistics in a file of that label. Raises as `read_statistics` does, and StatisticsError for another label."""
    found, own = read_statistics(path)
    for key, value in label.items():
        if own.get(key) != value:
            raise StatisticsError(
                f"{path} holds the statistics of another evaluation: its {key} is {own.get(key)!r}, not {value!r}"
            )
    return found


class Unfinished:
    """What one stream has gathered, saved now and then, so that an evaluation goes on where it was interrupted."""

    def __init__(self, path: Path, label: Label) -> None:
        """A folder that cannot be made is found out now, before the work. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._label, self._saved = path, dict(label), time.monotonic()

    def restore(self, fresh: T) -> T:
        """What is saved under this label, or `fresh`."""
        if not self._path.exists():
            return fresh
        try:
            about, arrays = _read(self._path)
        except StatisticsError:
            about, arrays = {"label": None}, {}
        if about["label"] != self._label:
            self._path.unlink()
            return fresh
        return fresh.restored(about, arrays)

    def save_at_times(self, scores: Gathered) -> None:
        """Once a minute."""
        if time.monotonic() - self._saved > SECONDS_BETWEEN_SAVES:
            self.save(scores)
            self._saved = time.monotonic()

    def save(self, scores: Gathered) -> None:
        about, arrays = scores.flattened()
        _write(self._path, about | {"label": self._label}, arrays)

    def remove(self) -> None:
        """When the evaluation is done."""
        self._path.unlink(missing_ok=True)


def _write(path: Path, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(partial, "wb") as file:
            np.savez(file, about=np.array(json.dumps(about)), **arrays)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return dict(json.loads(str(arrays.pop("about")))), arrays
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise StatisticsError(f"{path} is no file of statistics that tokjax wrote, or a damaged one; remove it") from error
