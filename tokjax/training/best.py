"""The best checkpoint of a run by a metric of its evaluations: `best.json` in the workdir names the step, which is kept."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokjax.errors import ConfigError, nearest
from tokjax.training.workdir import write_atomically

MORE_IS_BETTER = ("psnr", "ssim", "usage", "perplexity", "entropy_bits", "inception_score")


class Best:
    """Attributes:
    step: of the best evaluation so far, or None.
    """

    def __init__(self, metric: str, workdir: Path, leader: bool, saved: Sequence[int]) -> None:
        """Reads what an earlier part of the run found, where that is among the saved steps.

        `metric` is a name such as "validation/videos/psnr"; "" looks for none.
        """
        self._metric, self._path, self._leader = metric, workdir / "best.json", leader
        self.step: int | None = None
        self._value = math.nan
        if metric and self._path.exists():
            found = json.loads(self._path.read_text())
            if found["metric"] == metric and found["step"] in saved:
                self.step, self._value = found["step"], found["value"]

    def consider(self, step: int, scalars: Mapping[str, float]) -> bool:
        """Whether this evaluation is the best so far.

        Raises:
          ConfigError: it does not give the metric.
        """
        if not self._metric:
            return False
        if self._metric not in scalars:
            hint = nearest(self._metric, scalars) or f"; there are: {', '.join(scalars)}"
            raise ConfigError(f"config.training.best_metric is {self._metric!r}, which evaluations do not give{hint}")
        value = scalars[self._metric]
        more = any(self._metric.rpartition("/")[2].startswith(name) for name in MORE_IS_BETTER)
        if not math.isfinite(value) or (self.step is not None and not (value > self._value if more else value < self._value)):
            return False
        self.step, self._value = step, value
        return True

    def write(self) -> None:
        """Names the best step in `best.json`."""
        if self._leader:
            found = {"step": self.step, "metric": self._metric, "value": self._value}
            write_atomically(self._path, json.dumps(found, indent=2) + "\n")
