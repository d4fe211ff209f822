"""What generated samples are compared with: a folder, a file that an evaluation kept, or a file that others publish."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tokjax.evaluation.clips import Clips, Files
from tokjax.evaluation.frechet import Gaussian, Moments
from tokjax.evaluation.judge import SCORED_WITH, Judge
from tokjax.evaluation.kept_scores import Statistics, StatisticsError
from tokjax.evaluation.protocol_run import Setup, originals_of
from tokjax.evaluation.protocols import MANIFOLD, Protocol
from tokjax.evaluation.published_references import Published, PublishedClips, published
from tokjax.evaluation.reference_shelf import Shelf, enough_features, statistics_in
from tokjax.evaluation.samples import LIST, samples_in, spread, spread_files
from tokjax.evaluation.set_scores import SetScores

# (ids that are done, clips at a time) -> batches of the others.
ClipsAfter = Callable[[Collection[str], int], Any]
Gather = Callable[[str, dict[str, Any], SetScores, ClipsAfter], tuple[SetScores, Any]]


@dataclasses.dataclass(frozen=True)
class References:
    """Attributes:
    moments: by metric.
    features: of those that precision and recall see, float32 [n,d]; None where they are not asked for.
    count: files that could be used; None where nobody says how many there were.
    about: what the results say of where they are from.
    bad: files that could not be used, see Clips.
    notes: what else a reader has to know.
    """

    moments: dict[str, Moments | Gaussian]
    features: np.ndarray | None
    count: int | None
    about: dict[str, Any]
    bad: list[dict[str, str]] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


def take_references(setup: Setup, judge: Judge, gather: Gather) -> References:
    """Those of `setup.data`: a folder of images or videos, which may be generated samples too, or one of the two kinds of files.

    Args:
      gather: runs the judge on batches.

    Raises:
      DataError, StatisticsError: nothing there, or not what the protocol needs.
    """
    path, protocol = setup.data, setup.protocol
    if not judge.of_sets:
        return References({}, None, None, {"path": str(path)})
    if not path.is_file():
        source = spread_files(_files_in(setup), protocol.reference_files)
        pictures = _Pictures(source.ids, source.fingerprint(), lambda done, batch: Clips(protocol, source, batch, done))
        return _of_pictures(setup, judge, gather, pictures, judge.of_sets)
    file = published(path)
    return _of_published(setup, judge, gather, file) if file else _of_kept(path, protocol, judge)


@dataclasses.dataclass(frozen=True)
class _Pictures:
    ids: Sequence[str]
    fingerprint: str
    after: ClipsAfter


def _files_in(setup: Setup) -> Files:
    return samples_in(setup.data, setup.protocol.media) if (setup.data / LIST).is_file() else originals_of(setup)


def _of_kept(path: Path, protocol: Protocol, judge: Judge) -> References:
    found, label = statistics_in(path, protocol, judge.of_sets, judge.digests)
    count = found.moments[label["metric"]].count
    about = {"path": str(path), "files": count, "fingerprint": label["data"]}
    return References(dict(found.moments), found.features.get(SCORED_WITH), count, about)


def _of_pictures(setup: Setup, judge: Judge, gather: Gather, pictures: _Pictures, metrics: Sequence[str]) -> References:
    """From the cache where they are there, or taken now and kept."""
    protocol, count = setup.protocol, len(pictures.ids)
    shelf = Shelf(setup.cache, protocol, pictures.fingerprint, judge.digests)
    known = {metric: kept for metric in metrics if (kept := shelf.find(metric)) and enough_features(kept, metric, protocol)}
    missing, bad = [metric for metric in metrics if metric not in known], []
    if missing:
        wanted = _in_manifold(pictures.ids, protocol) if SCORED_WITH in missing else None
        fresh = SetScores({metric: Moments() for metric in missing}, wanted=wanted)
        label = {"data": pictures.fingerprint, "taken": missing}
        taken, clips = gather("unfinished_references", label, fresh, pictures.after)
        bad = clips.bad
        for metric in missing:
            features = {metric: taken.all_features()} if metric == SCORED_WITH and wanted else {}
            known[metric] = Statistics({metric: taken.moments[metric]}, features)
            if not bad:
                shelf.keep(metric, known[metric])
    about = {"path": str(setup.data), "files": count, "fingerprint": pictures.fingerprint}
    features = known[SCORED_WITH].features.get(SCORED_WITH) if SCORED_WITH in known else None
    return References({name: one.moments[name] for name, one in known.items()}, features, count - len(bad), about, bad)


def _in_manifold(ids: Sequence[str], protocol: Protocol) -> frozenset[str] | None:
    if not set(MANIFOLD) & set(protocol.metrics):
        return None
    return frozenset(spread(list(ids), protocol.manifold))


def _of_published(setup: Setup, judge: Judge, gather: Gather, file: Published) -> References:
    """Distances are from the moments in the file, where it has some; the images are for the rest."""
    protocol, path = setup.protocol, setup.data
    manifold = bool(set(MANIFOLD) & set(protocol.metrics))
    distances = [metric for metric in judge.of_sets if metric in protocol.metrics]
    if not file.shape and manifold:
        others = ",".join(metric for metric in protocol.metrics if metric not in MANIFOLD)
        raise StatisticsError(
            f"{path} holds moments without images, but precision and recall need some; give a folder of references or a file "
            f"with images (arr_0), or leave the two out with --metrics {others}"
        )
    if file.moments and len(distances) > 1:
        raise StatisticsError(f"{path} holds the moments of one rule; name one of {', '.join(distances)} with --metrics")
    if file.shape and protocol.media != "images":
        raise StatisticsError(f"{path} holds images, but {protocol.name} is of {protocol.media}")
    pictures = _Pictures(file.ids(), file.fingerprint(), lambda done, batch: PublishedClips(file, protocol, batch, done))
    metrics = [SCORED_WITH] if manifold and file.moments else [] if file.moments else judge.of_sets
    found = _of_pictures(setup, judge, gather, pictures, metrics)
    if not file.moments or not distances:
        return found
    note = f"{distances[0]}: the moments are those in {path}, which does not say by what rule and over how many they were taken"
    return dataclasses.replace(found, moments={distances[0]: file.moments}, count=None, notes=[note])
