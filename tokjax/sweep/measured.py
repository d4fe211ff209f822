"""What was measured of a run, by column: quality from its last evaluation, cost from its shapes and its use of devices."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tokjax.evaluation.cost_of_clip import cost_of_clip
from tokjax.models.tokenizer import Tokenizer, build
from tokjax.sweep.columns import log_name
from tokjax.sweep.rows import PlannedRun, Sweep
from tokjax.sweep.states import DONE, State, state_of
from tokjax.sweep.workdir import folder_of, read_record
from tokjax.training.device_time import read_use
from tokjax.training.stages import stages_of
from tokjax.training.telemetry import read_metrics


@dataclasses.dataclass(frozen=True)
class MeasuredRow:
    """Attributes:
    values: by column, of each seed that is done.
    states: of all its runs.
    notes: what a reader has to know of the numbers.
    """

    name: str
    values: Mapping[str, Sequence[float]]
    states: Mapping[str, State]
    notes: Sequence[str]


def measured_rows(workdir: Path, sweep: Sweep, runs: Sequence[PlannedRun]) -> list[MeasuredRow]:
    """Of every row, in order; one that is not done has its cost by shapes only."""
    return [_row(workdir, sweep, [run for run in runs if run.row == row.name]) for row in sweep.rows]


def _row(workdir: Path, sweep: Sweep, runs: Sequence[PlannedRun]) -> MeasuredRow:
    states = {run.id: state_of(workdir, run) for run in runs}
    done = [folder_of(workdir, run) for run in runs if states[run.id].name == DONE]
    values: dict[str, list[float]] = {key: [cost] for key, cost in shape_costs(runs[0].config).items()}
    for folder in done:
        scores = last_scores(folder)
        hours, peak, _ = read_use(folder)
        found = {key: scores.get(log_name(key)) for key in sweep.columns} | {"device_hours": hours, "peak_memory": peak}
        for key, value in found.items():
            if value is not None:
                values.setdefault(key, []).append(value)
    notes = [f"{id}: {state.name}{f', {state.reason}' if state.reason else ''}" for id, state in states.items()]
    notes = [note for note, state in zip(notes, states.values(), strict=True) if state.name != DONE]
    return MeasuredRow(runs[0].row, values, states, notes)


def last_scores(folder: Path) -> dict[str, float]:
    """By the name in the log, of the last evaluation that has it."""
    found: dict[str, float] = {}
    for row in read_metrics(folder):
        found |= {key: value for key, value in row.items() if key.startswith("validation/")}
    return found


def shape_costs(config: Any) -> dict[str, float]:
    """parameters, macs and bits_per_pixel (where there are codes) of a clip of its longest validation stream."""
    own = stages_of(config)[-1].config.copy_and_resolve_references()
    own.model.remat = False
    streams = [*own.data.validation.values()] or [*own.data.train.values()]
    shape = max((one.frames, one.resolution, one.resolution) for one in streams)
    model = build(own.model)
    frames = shape[0] + sum(model.pad_frames(shape[0]))
    clip = jax.ShapeDtypeStruct((1, frames, *model.pad_sides(*shape[1:]), 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), clip)
    cost = cost_of_clip(Tokenizer(model, variables, own), shape)
    found = {"parameters": cost["parameters"], "macs": cost["flops"] / 2, "bits_per_pixel": cost["bits_per_pixel"]}
    return {key: value for key, value in found.items() if value is not None}


def memory_kinds(workdir: Path, runs: Sequence[PlannedRun]) -> set[str]:
    """What the peak memory is of: "device" or "process"."""
    return {kind for run in runs if (kind := read_use(folder_of(workdir, run))[2])}


def code_versions(workdir: Path, runs: Sequence[PlannedRun]) -> dict[str, list[str]]:
    """The versions of tokjax, by commit where there is one, and the runs whose last start was by it."""
    found: dict[str, list[str]] = {}
    for run in runs:
        starts = read_record(folder_of(workdir, run)).get("starts", [])
        if starts:
            code = starts[-1]["code"]
            found.setdefault(code.get("commit", code["tokjax"]), []).append(run.id)
    return found


def deviation_of(values: Sequence[float]) -> float | None:
    """Of a sample; None for a single value."""
    return statistics.stdev(values) if len(values) > 1 else None
