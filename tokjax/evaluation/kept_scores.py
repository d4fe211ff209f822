"""Scores and moments in files: of an evaluation that was interrupted, and of originals, which many evaluations share.

Files are .npz without pickles. Each bears a label, everything that its numbers depend on; a file of another label is not used.
"""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tokjax.evaluation.examples import Examples, Picture
from tokjax.evaluation.frechet import Moments
from tokjax.evaluation.scores import Scores

SECONDS_BETWEEN_SAVES = 60.0
_MOMENTS = ("origin", "total", "squares")
Label = Mapping[str, Any]


class StatisticsError(ValueError):
    """A file of statistics that is damaged or of something else; the message is one sentence."""


def save_moments(path: Path, moments: Mapping[str, Moments], label: Label) -> None:
    """Writes moments by metric, whole or not at all."""
    counts = {name: one.count for name, one in moments.items()}
    _write(path, {"label": dict(label), "counts": counts}, _arrays(moments))


def load_moments(path: Path, label: Label) -> dict[str, Moments]:
    """The moments in a file.

    Raises:
      StatisticsError: it is damaged, or its label differs. OSError: it is not there.
    """
    about, arrays = _read(path)
    for key, value in label.items():
        if about["label"].get(key) != value:
            raise StatisticsError(
                f"{path} holds the statistics of another evaluation: its {key} is {about['label'].get(key)!r}, not {value!r}"
            )
    return _moments(about["counts"], arrays)


class Unfinished:
    """The scores of one stream, saved now and then, so that an evaluation goes on where it was interrupted."""

    def __init__(self, path: Path, label: Label) -> None:
        self._path, self._label, self._saved = path, dict(label), time.monotonic()

    def restore(self, fresh: Scores) -> Scores:
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
        return _scores(about, arrays, fresh)

    def save_at_times(self, scores: Scores) -> None:
        """Once a minute."""
        if time.monotonic() - self._saved > SECONDS_BETWEEN_SAVES:
            self.save(scores)
            self._saved = time.monotonic()

    def save(self, scores: Scores) -> None:
        about, arrays = _flattened(scores)
        _write(self._path, about | {"label": self._label}, arrays)

    def remove(self) -> None:
        """When the evaluation is done."""
        self._path.unlink(missing_ok=True)


def _flattened(scores: Scores) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    sets = {f"{name}/{side}": pair[i] for name, pair in scores.sets.items() for i, side in enumerate(("fake", "real"))}
    kept = scores.examples.kept if scores.examples else {}
    about = {
        "ids": scores.ids,
        "metrics": list(scores.frames),
        "counts": {name: one.count for name, one in sets.items()},
        "examples": {role: [psnr, picture.name] for role, (psnr, picture) in kept.items()},
    }
    arrays = _arrays(sets)
    for name, clips in scores.frames.items():
        arrays[f"frames/{name}"] = np.concatenate(clips)
        arrays[f"lengths/{name}"] = np.array([len(clip) for clip in clips])
    arrays["codes"] = np.asarray(scores.counts)
    if scores.inception_score is not None:
        arrays |= {f"inception_score/{name}": value for name, value in scores.inception_score.state().items()}
    if scores.examples:
        arrays["psnr_of_clips"] = np.array(scores.examples.scores)
        for role, (_, picture) in kept.items():
            arrays |= {f"original/{role}": picture.original, f"reconstruction/{role}": picture.reconstruction}
    return about, arrays


def _scores(about: Mapping[str, Any], arrays: Mapping[str, np.ndarray], fresh: Scores) -> Scores:
    moments = _moments(about["counts"], arrays)
    frames = {}
    for name in about["metrics"]:
        frames[name] = np.split(arrays[f"frames/{name}"], np.cumsum(arrays[f"lengths/{name}"])[:-1])
    scores = Scores(list(about["ids"]), frames, arrays["codes"] if arrays["codes"].ndim else 0)
    scores.sets = {name: (moments[f"{name}/fake"], moments[f"{name}/real"]) for name in fresh.sets}
    if fresh.inception_score is not None:
        fresh.inception_score.restore(
            {name.split("/")[1]: arrays[name] for name in arrays if name.startswith("inception_score/")}
        )
    scores.inception_score = fresh.inception_score
    if fresh.examples is not None:
        kept = {}
        for role, (psnr, name) in about["examples"].items():
            kept[role] = (psnr, Picture(name, arrays[f"original/{role}"], arrays[f"reconstruction/{role}"]))
        scores.examples = Examples(arrays["psnr_of_clips"].tolist(), kept)
    return scores


def _arrays(moments: Mapping[str, Moments]) -> dict[str, np.ndarray]:
    return {f"moments/{name}/{part}": getattr(one, part) for name, one in moments.items() if one.count for part in _MOMENTS}


def _moments(counts: Mapping[str, int], arrays: Mapping[str, np.ndarray]) -> dict[str, Moments]:
    def one(name: str, count: int) -> Moments:
        return Moments(count, *(arrays[f"moments/{name}/{part}"] for part in _MOMENTS)) if count else Moments()

    return {name: one(name, count) for name, count in counts.items()}


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
