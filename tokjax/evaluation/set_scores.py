"""What has been gathered of one set, of samples or of references, that has no partners in another. Sums are in float64."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tokjax.evaluation.frechet import Moments, moments_as_arrays, moments_from_arrays
from tokjax.evaluation.inception_score import InceptionScore
from tokjax.evaluation.judge import SCORED_WITH
from tokjax.evaluation.scores import arrays_below

Found = Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass
class SetScores:
    """Attributes:
    moments: of the features, by metric.
    inception_score: where it is asked for.
    wanted: the files whose features are kept for precision and recall; None where they are not asked for.
    features: theirs, float32 [n,d] batch by batch.
    ids: of the clips, in order.
    frames: how many those have.
    resized: see Samples.
    """

    moments: dict[str, Moments]
    inception_score: InceptionScore | None = None
    wanted: frozenset[str] | None = None
    features: list[np.ndarray] = dataclasses.field(default_factory=list)
    ids: list[str] = dataclasses.field(default_factory=list)
    frames: int = 0
    resized: str | None = None

    def add(self, ids: Sequence[str], frames: int, found: Found) -> None:
        """Takes in clips of so many frames, with (features, logits) of all of them by metric."""
        for metric, moments in self.moments.items():
            moments.add(found[metric][0])
        if self.inception_score is not None:
            self.inception_score.add(found[SCORED_WITH][1])
        if self.wanted is not None:
            kept = np.array([id in self.wanted for id in ids])
            self.features.append(found[SCORED_WITH][0][kept].astype(np.float32))
        self.ids += ids
        self.frames += frames * len(ids)

    def all_features(self) -> np.ndarray:
        """[n,d]"""
        return np.concatenate(self.features)

    def flattened(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """See tokjax.evaluation.kept_scores."""
        counts = {name: one.count for name, one in self.moments.items()}
        about = {"ids": self.ids, "frames": self.frames, "resized": self.resized, "counts": counts}
        arrays = moments_as_arrays(self.moments)
        if self.inception_score is not None:
            arrays |= {f"inception_score/{name}": value for name, value in self.inception_score.state().items()}
        if self.features:
            arrays["features"] = self.all_features()
        return about, arrays

    def restored(self, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> SetScores:
        """One with what `flattened` gave; this one, which is new, says what is wanted of it."""
        if self.inception_score is not None:
            self.inception_score.restore(arrays_below("inception_score", arrays))
        return dataclasses.replace(
            self,
            moments=moments_from_arrays(about["counts"], arrays),
            features=[arrays["features"]] if "features" in arrays else [],
            ids=list(about["ids"]),
            frames=about["frames"],
            resized=about["resized"],
        )
