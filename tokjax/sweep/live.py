"""The status table while a sweep runs: redrawn in place on a terminal, elsewhere a line for what has changed."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from tokjax.sweep.states import State, status_table


class LiveTable:
    def __init__(self) -> None:
        self._lines, self._said = 0, {}

    def show(self, states: Mapping[str, State]) -> None:
        if sys.stdout.isatty():
            text = status_table(dict(states))
            up = f"\033[{self._lines}F\033[J" if self._lines else ""
            print(up + text, flush=True)
            self._lines = text.count("\n") + 1
            return
        for id, state in states.items():
            if self._said.get(id) != (state.name, state.metric):
                at = f"step {state.step}/{state.total}"
                print(" | ".join(filter(None, (id, state.name, at, state.metric, state.reason))), flush=True)
                self._said[id] = (state.name, state.metric)
