"""A profile of a few training steps: a trace for TensorBoard or Perfetto, and which operations took the most time."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

SKIPPED, TRACED = 2, 3  # steps: the first ones compile and fill caches
LARGEST = 5


class StepProfile:
    """Traces the steps SKIPPED+1 .. SKIPPED+TRACED of a process into a directory, then says what was slowest in them.

    Attributes:
      directory: `tensorboard --logdir` and https://ui.perfetto.dev open what is in it.
    """

    def __init__(self, directory: Path, say: Callable[[str], None]) -> None:
        self.directory, self._say, self._taken, self._tracing = directory, say, 0, False

    def after_step(self, result: Any, sources: Callable[[], Mapping[str, str]]) -> None:
        """Counts a step.

        Args:
          result: of the step; the trace begins and ends when it is there.
          sources: () -> for operations of the program, what they were traced from.
        """
        self._taken += 1
        if self._taken == SKIPPED:
            jax.block_until_ready(result)
            jax.profiler.start_trace(str(self.directory))
            self._tracing = True
        elif self._tracing and self._taken == SKIPPED + TRACED:
            jax.block_until_ready(result)
            self.close()
            for line in report(operation_seconds(self.directory), sources()):
                self._say(line)

    def close(self) -> None:
        """Ends a trace that has begun."""
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing = False
            self._say(f"profile: {self.directory} holds a trace of the steps {SKIPPED + 1} to {self._taken} since the start")


def operation_seconds(directory: Path) -> dict[str, float]:
    """Seconds in each operation, over all steps and devices of this process, from the newest trace in the directory."""
    traces = sorted(directory.glob("plugins/profile/*/*.trace.json.gz"), key=lambda path: path.stat().st_mtime)
    if not traces:
        return {}
    total: dict[str, float] = defaultdict(float)
    for event in json.loads(gzip.decompress(traces[-1].read_bytes()))["traceEvents"]:
        name = event.get("args", {}).get("hlo_op")
        if name and "dur" in event:
            total[name] += event["dur"] / 1e6
    return dict(total)


def report(seconds: Mapping[str, float], sources: Mapping[str, str]) -> list[str]:
    """The largest costs, one a line."""
    if not seconds:
        return ["profile: this device's trace does not name operations; look at it in TensorBoard"]
    everything = sum(seconds.values())
    largest = sorted(seconds.items(), key=lambda item: -item[1])[:LARGEST]
    lines = [f"profile: {everything:.3g} s in operations of {TRACED} steps; the {len(largest)} largest costs:"]
    return lines + [
        f"  {value / everything:5.1%} {value * 1e3:10.1f} ms  {name}  {sources.get(name, '')}".rstrip() for name, value in largest
    ]
