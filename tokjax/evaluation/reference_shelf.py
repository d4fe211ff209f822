"""Statistics of originals in files, one a metric, each under a name made of everything that its numbers depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokjax.evaluation.distributions import RULES
from tokjax.evaluation.judge import SCORED_WITH
from tokjax.evaluation.kept_scores import Statistics, StatisticsError, load_statistics, read_statistics, save_statistics
from tokjax.evaluation.protocols import MANIFOLD, Protocol


class Shelf:
    """The files of one set of originals by one protocol."""

    def __init__(self, folder: Path, protocol: Protocol, fingerprint: str, digests: Mapping[str, str]) -> None:
        """`fingerprint` names the originals, `digests` the weights by network."""
        self._folder, self._protocol, self._fingerprint, self._digests = folder, protocol, fingerprint, digests

    def find(self, metric: str) -> Statistics | None:
        """Raises StatisticsError: a file that is damaged, or of other originals than its name says."""
        path = self.path(metric)
        return load_statistics(path, self._label(metric)) if path.exists() else None

    def keep(self, metric: str, found: Statistics) -> None:
        """For later evaluations."""
        save_statistics(self.path(metric), found, self._label(metric) | {"preset": self._protocol.name})

    def path(self, metric: str) -> Path:
        """Where the statistics of a metric are kept."""
        label = json.dumps(self._label(metric), sort_keys=True)
        return self._folder / f"{metric}_{hashlib.sha256(label.encode()).hexdigest()[:16]}.npz"

    def _label(self, metric: str) -> dict[str, Any]:
        digest = self._digests[RULES[metric].network]
        return {"metric": metric, "protocol": self._protocol.digest(), "data": self._fingerprint, "weights": digest}


def enough_features(found: Statistics, metric: str, protocol: Protocol) -> bool:
    """Whether precision and recall have what they need, where the protocol has them."""
    if metric != SCORED_WITH or not set(MANIFOLD) & set(protocol.metrics):
        return True
    count = found.moments[metric].count
    return len(found.features.get(metric, ())) == min(protocol.manifold or count, count)


def statistics_in(
    path: Path, protocol: Protocol, metrics: Sequence[str], digests: Mapping[str, str]
) -> tuple[Statistics, dict[str, Any]]:
    """The statistics in a file that somebody names as the reference, and its label.

    Raises:
      StatisticsError: it is damaged, or not what these metrics by this protocol with these weights need. OSError.
    """
    found, label = read_statistics(path)
    kept = label["metric"]
    lacking = [metric for metric in metrics if metric != kept]
    again = "give the folder of references instead"
    if lacking:
        raise StatisticsError(f"{path} is of {kept} alone, and {', '.join(lacking)} needs more; {again}, or --metrics {kept}")
    if label["protocol"] != protocol.digest():
        by = f" ({label['preset']})" if "preset" in label else ""
        raise StatisticsError(
            f"{path} is the reference of another protocol{by} than {protocol.name} as it is set here: its pictures were cut or "
            f"resized otherwise; {again}"
        )
    if label["weights"] != digests[RULES[kept].network]:
        raise StatisticsError(f"{path} was made with other weights of {RULES[kept].network} than those given; {again}")
    if not enough_features(found, kept, protocol):
        others = ",".join(metric for metric in protocol.metrics if metric not in MANIFOLD)
        raise StatisticsError(
            f"{path} keeps no features, or others, for precision and recall; {again}, whose file in --cache will keep them, or "
            f"leave the two out with --metrics {others}"
        )
    return found, label
