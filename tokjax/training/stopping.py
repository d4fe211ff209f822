"""A request to stop, from a person or a scheduler."""

from __future__ import annotations

import signal
from typing import Any

import jax


class StopSignal:
    """Turns SIGTERM and Ctrl-C into a request that the loop meets at the next step; a second Ctrl-C interrupts at once.

    In a run of several processes SIGTERM is left to jax: its service hears it on any process and stops all at the same step.
    """

    def __init__(self) -> None:
        self._asked = False
        ours = (signal.SIGTERM, signal.SIGINT) if jax.process_count() == 1 else ()
        self._previous = {number: signal.signal(number, self._ask) for number in ours}

    def _ask(self, number: int, frame: Any) -> None:
        self._asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def asked(self, step: int) -> bool:
        """Whether to stop before this step; in a run of several processes each asks at the same steps."""
        if jax.process_count() == 1:
            return self._asked
        from jax.experimental import multihost_utils

        return multihost_utils.reached_preemption_sync_point(step)

    def restore(self) -> None:
        """Puts back what handled the signals before."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
