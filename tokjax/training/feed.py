"""What feeds a run: the sources of all its stages, each opened once, and the batches of one stage at a time."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from tokjax.data.pipeline import Batches, training_batches
from tokjax.data.sources import DataError, OpenOnce
from tokjax.errors import ConfigError
from tokjax.training.stages import Stage


class Feed:
    """Attributes:
    open: gives the source of a stream of this run.
    fingerprints: of the sources that were trained on so far, by stream.
    """

    def __init__(self, stages: Sequence[Stage], accept_change: bool = False) -> None:
        """Opens every source, so that a mistyped path is found out before anything is compiled or written.

        With `accept_change`, data that is not what it was is trained on all the same.

        Raises:
          DataError, ConfigError: nothing to read, or no stream to train on.
        """
        self.open, self.fingerprints, self._accept_change = OpenOnce(), {}, accept_change
        self._places: dict[str, Any] = {}
        for stage in stages:
            streams = _drawn(stage)
            if not streams:
                where = f" in stage {stage.name!r}" if stage.name else ""
                raise ConfigError(f"config.data.train has no stream to draw from{where}; add one with tokjax.config.stream")
            for name, stream in streams.items():
                self._places.setdefault(name, self.open(stream))
            for stream in stage.config.data.validation.values():
                self.open(stream.to_dict())

    def batches(self, stage: Stage, step: int) -> Batches:
        """The batches of a stage from a step of the run on.

        Raises:
          DataError: the data is not what it was when this run, or one that it continues, trained on it before.
        """
        data, streams = stage.config.data, _drawn(stage)
        batches = training_batches(
            streams,
            seed=stage.data_seed,
            start=step - stage.begin,
            host=jax.process_index(),
            hosts=jax.process_count(),
            workers=data.workers,
            bad_share=data.bad_share,
            slow_seconds=data.slow_seconds,
            open_with=self.open,
        )
        found = {self._label(stage, name): value for name, value in batches.fingerprints.items()}
        changed = [name for name, value in found.items() if self.fingerprints.get(name, value) != value]
        for name in changed if self._accept_change else ():
            logging.warning("the data of stream %r is not what this run was started with, and is accepted", name)
        if changed and not self._accept_change:
            batches.close()
            raise DataError(
                f"the data of stream {changed[0]!r} is not what this run was started with (files were added, removed or "
                "replaced); restore the data, start in a new workdir, or go on with --accept-data-change"
            )
        self.fingerprints |= found
        return batches

    def _label(self, stage: Stage, name: str) -> str:
        """A stream that reads from another place than in the stages before is another stream."""
        same = self._places[name] is self.open(_drawn(stage)[name])
        return name if same else f"{stage.name}/{name}"


def _drawn(stage: Stage) -> dict[str, Mapping[str, Any]]:
    """The streams that are drawn from."""
    return {name: stream for name, stream in stage.config.data.train.to_dict().items() if stream["weight"] > 0}
