"""Generated samples judged by a protocol against references that are not their partners; goes on where it was interrupted."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from tokjax.evaluation.context import environment
from tokjax.evaluation.frechet import Moments
from tokjax.evaluation.judge import SCORED_WITH, Judge
from tokjax.evaluation.kept_scores import Unfinished
from tokjax.evaluation.manifold import NEIGHBOURS, precision_recall
from tokjax.evaluation.protocol_run import Progress, Setup, add_protocol, batch_size, by_clip
from tokjax.evaluation.protocols import MANIFOLD, shortage
from tokjax.evaluation.references import ClipsAfter, References, take_references
from tokjax.evaluation.samples import Samples, how_made, samples_in, spread_files
from tokjax.evaluation.scores import distance
from tokjax.evaluation.set_scores import SetScores
from tokjax.models.values import to_uint8

SHOWN = 8  # samples in a report


def evaluate_generated(
    setup: Setup, folder: Path, mesh: Mesh, progress: Progress | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Judges the samples in a folder.

    Args:
      setup: its `data` is the reference, see tokjax.evaluation.references.
      progress: called after each batch with the number of clips done, references first.

    Returns:
      (results as of tokjax.evaluation.evaluator, some of the samples, uint8 [t,h,w,3] by name).

    Raises:
      DataError, PerceptualError, ProtocolError, StatisticsError: see those who raise them.
    """
    run = _Run(setup, folder, mesh, progress or (lambda done: None))
    references = run.references()
    result = run.result(references, run.samples())
    shown = run.shown()
    run.tidy()
    return result, shown


class _Run:
    def __init__(self, setup: Setup, folder: Path, mesh: Mesh, progress: Progress) -> None:
        self._began, protocol = time.monotonic(), setup.protocol
        self._setup, self._folder, self._mesh, self._progress, self._done = setup, folder, mesh, progress, 0
        everything = samples_in(folder, protocol.media)
        self._files, self._found = spread_files(everything, protocol.samples), len(everything)
        self._fingerprint = self._files.fingerprint()
        self._manifold = bool(set(MANIFOLD) & set(protocol.metrics))
        metrics = [metric for metric in protocol.metrics if metric not in MANIFOLD]
        if self._manifold and SCORED_WITH not in metrics:
            metrics.append(SCORED_WITH)
        self._judge = Judge(metrics, setup.weights, protocol.half_range, protocol.jpeg, len(self._files))
        self._unfinished: list[Unfinished] = []

    def references(self) -> References:
        """What they come to, taken now or known already."""
        found = take_references(self._setup, self._judge, self._gather)
        if not found.bad:
            self.tidy()  # all of it lies on the shelf now
        return found

    def samples(self) -> SetScores:
        """What the samples come to."""
        protocol, judge = self._setup.protocol, self._judge
        wanted = frozenset(self._files.ids) if self._manifold else None
        fresh = SetScores({metric: Moments() for metric in judge.of_sets}, judge.new_scores().inception_score, wanted)
        label = {"judged": self._fingerprint, "metrics": list(protocol.metrics)}
        return self._gather("unfinished", label, fresh, lambda done, batch: Samples(protocol, self._files, batch, done))[0]

    def _gather(self, name: str, label: dict[str, Any], fresh: SetScores, clips_after: ClipsAfter) -> tuple[SetScores, Any]:
        """All batches of one side, saved now and then under a name; what was saved of it is not taken again."""
        unfinished = self._resumable(name, label)
        taken = unfinished.restore(fresh)
        clips = clips_after(taken.ids, batch_size(self._setup, self._mesh.size))
        metrics = {*taken.moments, *((SCORED_WITH,) if taken.inception_score is not None else ())}
        place, are_samples = by_clip(self._mesh), isinstance(clips, Samples)
        for ids, video, valid in clips:
            pixels = jax.device_put(video, place)
            found = {metric: self._judge.set_features(metric, pixels, not are_samples, valid) for metric in metrics}
            taken.add([id for id, real in zip(ids, valid, strict=True) if real], video.shape[1], found)
            taken.resized = taken.resized or (clips.resized if are_samples else None)
            unfinished.save_at_times(taken)
            self._progress(self._done + len(taken.ids))
        self._done += len(taken.ids)
        unfinished.save(taken)
        return taken, clips

    def result(self, references: References, samples: SetScores) -> dict[str, Any]:
        """Numbers and label."""
        protocol = self._setup.protocol
        stream = {"clips": len(samples.ids), "frames": samples.frames}
        stream["sample_ids"] = hashlib.sha256("\n".join(samples.ids).encode()).hexdigest()
        stream |= {name: self._distance(name, samples, references) for name in samples.moments if name in protocol.metrics}
        if samples.inception_score is not None:
            mean, deviation = samples.inception_score.result()
            stream["inception_score"] = {"value": mean, "deviation": deviation, "samples": len(samples.ids)}
        stream |= self._shares(samples, references) | {"codebook": None}
        result = {"streams": {protocol.media: stream}, "codebook": None, "protocol": {}}
        add_protocol(result, self._setup, self._judge, references.bad)
        result["warnings"] += self._notes(references, samples)
        result["protocol"]["enough_samples"] &= not self._too_few(references)
        result["model"] = {"name": self._folder.resolve().name, "samples": str(self._folder), "fingerprint": self._fingerprint}
        result["model"] |= {"made": made} if (made := how_made(self._folder)) else {}
        result["data"] = references.about
        return result | environment(time.monotonic() - self._began)

    def _distance(self, name: str, samples: SetScores, references: References) -> dict[str, Any]:
        return distance(name, samples.moments[name], references.moments[name])

    def _shares(self, samples: SetScores, references: References) -> dict[str, Any]:
        """Precision and recall, where they are asked for."""
        asked = [name for name in MANIFOLD if name in self._setup.protocol.metrics]
        if not asked:
            return {}
        real, fake = references.features, samples.all_features()
        about = {"samples": len(fake), "reference_samples": len(real), "neighbours": NEIGHBOURS, "features": SCORED_WITH}
        if min(len(real), len(fake)) <= NEIGHBOURS:
            warning = f"it needs more than {NEIGHBOURS} samples and references, and there are {len(fake)} and {len(real)}"
            return {name: {"value": None, **about, "warning": warning} for name in asked}
        values = dict(zip(MANIFOLD, precision_recall(real, fake), strict=True))
        return {name: {"value": values[name], **about} for name in asked}

    def _too_few(self, references: References) -> bool:
        return references.count is not None and references.count < self._setup.protocol.reference_files

    def _notes(self, references: References, samples: SetScores) -> list[str]:
        """What a reader has to know beside what all evaluations say."""
        protocol, notes = self._setup.protocol, []
        if self._too_few(references):
            wanted = dataclasses.replace(protocol, samples=protocol.reference_files)
            notes += shortage(wanted, {"references": references.count})
        notes += references.notes
        if self._found > len(self._files):
            notes.append(f"{len(self._files):,} of the {self._found:,} samples were taken, evenly spread in the order of names")
        if samples.resized:
            notes.append(f"samples were resized to {protocol.resolution} x {protocol.resolution}: {samples.resized}")
        return notes

    def shown(self) -> dict[str, np.ndarray]:
        """Some of the samples as they were judged, uint8 [t,h,w,3] by name."""
        few = spread_files(self._files, SHOWN)
        clips = dict(Samples(self._setup.protocol, few, 1).each())
        return {id: clip if clip.dtype == np.uint8 else np.asarray(to_uint8(clip)) for id, clip in clips.items()}

    def tidy(self) -> None:
        """When the evaluation is done."""
        for unfinished in self._unfinished:
            unfinished.remove()

    def _resumable(self, name: str, label: dict[str, Any]) -> Unfinished:
        protocol = self._setup.protocol
        label |= {"protocol": protocol.digest(), "manifold": self._manifold and protocol.manifold, "weights": self._judge.digests}
        self._unfinished.append(Unfinished(self._setup.output / f"{name}.npz", label))
        return self._unfinished[-1]
