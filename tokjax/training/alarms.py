"""What the numbers of a run say in words: which of them went wrong first, and when players or codes stop learning."""

from __future__ import annotations

import math
from collections.abc import Mapping

# Beginnings of names of metrics, in the order in which a step computes them.
_ORDER = ("reconstruction", "laplace", "perceptual", "generator", "matching", "adaptive_weight", "", "loss", "gradient_norm")
_ORDER += ("logits_real", "logits_fake", "lecam", "discriminator", "discriminator_gradient_norm")
SATURATED = 0.995  # share of right verdicts
ROWS = 3  # so many logged steps in a row
COLLAPSED = 0.2  # of the highest perplexity so far


def first_nonfinite(metrics: Mapping[str, float]) -> tuple[str, float] | None:
    """The earliest term of a step that is not finite, and its value; None where all are finite."""
    wrong = [(name, value) for name, value in metrics.items() if not math.isfinite(value)]
    return min(wrong, key=lambda pair: _place(pair[0]), default=None)


def _place(name: str) -> int:
    fitting = [start for start in _ORDER if name == start or (start and name.startswith(start + "_"))]
    return _ORDER.index(max(fitting, key=len, default=""))


class Alarms:
    """Watches the logged steps of a run. A sentence comes once, and again only after its cause had gone."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._highest: dict[str, float] = {}

    def sentences(self, stream: str, metrics: Mapping[str, float]) -> list[str]:
        """What to tell about the metrics of a step on a stream; mostly nothing."""
        found = []
        for name, value in metrics.items():
            if name.startswith("accuracy_"):
                judge = name.removeprefix("accuracy_")
                if self._lasts(name, value > SATURATED):
                    found.append(_saturated(judge, value))
            elif name == "codebook_perplexity":
                before = self._highest[stream] = max(value, self._highest.get(stream, 0.0))
                if self._lasts(f"codebook {stream}", value < COLLAPSED * before):
                    found.append(_collapsing(stream, value, before))
        return found

    def _lasts(self, cause: str, holds: bool) -> bool:
        """Whether a cause has just held for `ROWS` times in a row."""
        self._rows[cause] = self._rows.get(cause, 0) + 1 if holds else 0
        return self._rows[cause] == ROWS


def _saturated(judge: str, accuracy: float) -> str:
    return (
        f"ALARM: the discriminator of {judge}s is saturated: {accuracy:.1%} of its verdicts are right, so it has little left to "
        "teach; try a lower config.discriminator_optimizer.learning_rate, or config.loss.lecam_weight"
    )


def _collapsing(stream: str, perplexity: float, before: float) -> str:
    return (
        f"ALARM: the codebook is collapsing: batches of {stream!r} use as many codes as {perplexity:.1f} equally frequent ones, "
        f"after {before:.1f} before; try a lower learning rate, or another entropy_weight or restart_threshold in "
        "config.model.quantizer"
    )
