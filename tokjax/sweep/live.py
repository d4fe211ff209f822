"""The status table while a sweep runs: redrawn in place on a terminal, elsewhere a line for what has changed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping

from tokjax.sweep.states import State, status_table


class LiveTable:
    def __init__(self) -> None:
        self._lines, self._said = 0, {}

    def show(self, states: Mapping[str, State]) -> None:
        """Only what fits a terminal can be redrawn: lines are cut at its width, and a table too tall for it is not drawn."""
        width, height = shutil.get_terminal_size()
        lines = [line[: width - 1] for line in status_table(states).splitlines()]
        if sys.stdout.isatty() and len(lines) < height:
            self._draw(lines)
        else:
            self._say_changes(states)

    def finish(self, states: Mapping[str, State]) -> None:
        """The last table, uncut."""
        if sys.stdout.isatty():
            self._draw(status_table(states).splitlines())

    def _draw(self, lines: list[str]) -> None:
        up = f"\033[{self._lines}F\033[J" if self._lines else ""
        print(up + "\n".join(lines), flush=True)
        self._lines = len(lines)

    def _say_changes(self, states: Mapping[str, State]) -> None:
        self._lines = 0
        for id, state in states.items():
            if self._said.get(id) != (state.name, state.metric):
                at = f"step {state.step}/{state.total}"
                print(" | ".join(filter(None, (id, state.name, at, state.metric, state.reason))), flush=True)
                self._said[id] = (state.name, state.metric)
