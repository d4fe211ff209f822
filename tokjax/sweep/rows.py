"""A sweep is a list of named rows, each an experiment with some values changed, and the columns of the table they become.

A sweep file defines `get_sweep(scale)`, where the scale is "paper" or "laptop". A row is trained once for each of its seeds.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from tokjax.config import validate
from tokjax.errors import ConfigError, nearest, require
from tokjax.experiment import apply_overrides, load_experiment
from tokjax.sweep.columns import COST, check_columns
from tokjax.training.stages import stages_of

SCALES = ("paper", "laptop")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclasses.dataclass(frozen=True)
class Row:
    """Attributes:
    name: of its folder and in the table.
    experiment: FILE[:VARIANT], as of `tokjax train --config`.
    overrides: what differs, as {"optimizer.learning_rate": 1e-4}.
    seeds: of its runs.
    facts: what the table says of it, by head, as {"sample rate": "3 FPS"}.
    paper: the paper's numbers, by column; a text where it has no number, as "diverged".
    """

    name: str
    experiment: str
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    paper: Mapping[str, float | str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Attributes:
    title: of the table.
    rows: in its order.
    columns: see tokjax.sweep.columns; those of cost follow by themselves.
    source: where the rows' `paper` numbers are printed.
    notes: what a reader of the table has to know.
    """

    title: str
    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    source: str = ""
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One training: a row with one seed.

    Attributes:
      id: "ROW/seed_0", its folder below the sweep's `rows`.
      config: exactly what it is to train.
      arguments: of `tokjax train`, without --workdir, that make this config of its experiment file.
    """

    id: str
    row: str
    seed: int
    config: ConfigDict
    arguments: tuple[str, ...]


def load_sweep(spec: str) -> tuple[str, Sweep]:
    """The sweep of `path/to/file.py` or `path/to/file.py:scale`, and its name, "file:scale".

    Raises:
      ConfigError: no such file or scale, or no `get_sweep` in it.
    """
    path, _, scale = spec.partition(":")
    scale = scale or "paper"
    if not Path(path).is_file() or not path.endswith(".py"):
        raise ConfigError(f"no sweep file {path}; give a Python file that defines get_sweep(scale), or a sweep's workdir")
    require(scale in SCALES, f"a sweep has the scales {' and '.join(SCALES)}, not {scale!r}{nearest(scale, SCALES)}")
    module_spec = importlib.util.spec_from_file_location(f"sweep_{Path(path).stem}", path)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    require(hasattr(module, "get_sweep"), f"{path} defines no get_sweep(scale)")
    sweep = module.get_sweep(scale)
    require(isinstance(sweep, Sweep), f"get_sweep of {path} gives a {type(sweep).__name__}, not a tokjax.sweep.rows.Sweep")
    return f"{Path(path).stem}:{scale}", sweep


def planned_runs(sweep: Sweep) -> list[PlannedRun]:
    """Every run of the sweep, all checked before any starts.

    Raises:
      ConfigError: names the row.
    """
    require(bool(sweep.rows), f"the sweep {sweep.title!r} has no rows")
    twice = [name for name, count in Counter(row.name for row in sweep.rows).items() if count > 1]
    require(not twice, f"the sweep has two rows named {twice[0] if twice else ''!r}; give each a name of its own")
    check_columns(sweep.columns)
    runs = [run for row in sweep.rows for run in _runs_of(row, sweep.columns)]
    for key in sweep.columns:
        _require_measured(key, runs)
    return runs


def _require_measured(key: str, runs: list[PlannedRun]) -> None:
    """A column that every row would leave empty is a mistake."""
    stream, slash, metric = key.partition("/")
    finals = [stages_of(run.config)[-1].config for run in runs]
    found = [
        one.data.validation and (not slash or (stream in one.data.validation and metric in _judged_by(one))) for one in finals
    ]
    wanted = f"stream {stream!r} with {metric!r} among config.training.evaluation_metrics" if slash else "stream"
    require(any(found), f"no row measures the column {key!r}: none has a validation {wanted}")


def _judged_by(config: ConfigDict) -> tuple[str, ...]:
    return ("psnr", "ssim", *config.training.evaluation_metrics)


def _runs_of(row: Row, columns: tuple[str, ...]) -> list[PlannedRun]:
    where = f"row {row.name!r}"
    require(bool(_NAME.fullmatch(row.name)), f"{where}: a name has letters, digits, dots, dashes and underscores only")
    require(bool(row.seeds) and len(set(row.seeds)) == len(row.seeds), f"{where}: seeds must differ, not {row.seeds}")
    unknown = [key for key in row.paper if key not in columns and key not in COST]
    require(not unknown, f"{where}: the paper's {unknown[0] if unknown else ''!r} is none of the sweep's columns")
    try:
        return [_run(row, seed) for seed in row.seeds]
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _run(row: Row, seed: int) -> PlannedRun:
    require("seed" not in row.overrides, "the seed is not an override; give seeds=(...)")
    changes = [f"--config.{key}={value}" for key, value in {**row.overrides, "seed": seed}.items()]
    config = load_experiment(row.experiment)
    apply_overrides(config, changes)
    validate(config)
    return PlannedRun(f"{row.name}/seed_{seed}", row.name, seed, config, ("--config", row.experiment, *changes))
