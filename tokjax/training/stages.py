"""Progressive training: a run is a list of stages, each the run's config with some values changed.

A stage trains for its own `training.steps`, with a learning rate and an order of data that begin anew; steps are counted
through. A config without stages is one stage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

SECTIONS = (
    "model",
    "data",
    "loss",
    "discriminator",
    "optimizer",
    "discriminator_optimizer",
    "training",
)  # of the config, which a stage may change
OWN_KEYS = {"name": "", "keep_optimizer": False, "fresh": (), "inflate": ""}  # of a stage beside them, with their defaults


@dataclasses.dataclass(frozen=True)
class Stage:
    """Attributes:
    number: from 0.
    begin, end: it takes the steps begin + 1 to end, counted over the run.
    config: what holds in it; its own section `stages` is empty.
    name: "" for the one stage of a config without stages.
    keep_optimizer, fresh, inflate: as of `tokjax.config.stage`.
    """

    number: int
    begin: int
    end: int
    config: ConfigDict
    name: str = ""
    keep_optimizer: bool = False
    fresh: tuple[str, ...] = ()
    inflate: str = ""

    @property
    def data_seed(self) -> int:
        """Of the order of its data, another one in each stage."""
        seed = self.config.seed
        return int(np.random.SeedSequence([seed, self.number]).generate_state(1)[0]) if self.number else seed


def stage_configs(config: ConfigDict) -> list[ConfigDict]:
    """The config that holds in each stage."""
    whole = config.to_dict() | {"stages": {}}
    changes = [{key: value for key, value in part.to_dict().items() if key in SECTIONS} for part in in_order(config)]
    return [ConfigDict(_merged(whole, change)) for change in changes] or [config]


def stages_of(config: ConfigDict) -> list[Stage]:
    """The stages of a run, with the steps they take."""
    parts = in_order(config) or [ConfigDict()]
    found, begin = [], 0
    for number, (part, own) in enumerate(zip(parts, stage_configs(config), strict=True)):
        end = begin + own.training.steps
        found.append(Stage(number, begin, end, own, **{key: part.get(key, default) for key, default in OWN_KEYS.items()}))
        begin = end
    return found


def stage_of(stages: Sequence[Stage], step: int) -> Stage:
    """The stage whose state is saved at a step: the one that took it. Steps beyond the last stage are the last one's."""
    return next((stage for stage in stages if step <= stage.end), stages[-1])


def in_order(config: ConfigDict) -> list[ConfigDict]:
    """The parts of `config.stages`."""
    return [config.stages[number] for number in sorted(config.stages, key=int)]


def _merged(whole: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`whole` with the values of `changes`, section by section."""
    new = dict(whole)
    for key, value in changes.items():
        inner = isinstance(value, dict) and isinstance(whole.get(key), dict)
        new[key] = _merged(whole[key], value) if inner else value
    return new
