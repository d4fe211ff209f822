"""The report of a sweep: `table.md`, `.tex`, `.csv`, and `report.html` with curves, plots and the same clips of all rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tokjax.evaluation.comparison import Table, as_csv, as_latex, as_markdown, html_part
from tokjax.evaluation.page import page
from tokjax.evaluation.plots import Points, line_plot
from tokjax.sweep.clips import gallery_of
from tokjax.sweep.columns import CODEBOOK, column_of, log_name, several_streams
from tokjax.sweep.measured import MeasuredRow, code_versions, measured_rows, memory_kinds
from tokjax.sweep.models_page import figures
from tokjax.sweep.rows import PlannedRun, Sweep
from tokjax.sweep.states import DONE
from tokjax.sweep.table import quality_by_row, table_of
from tokjax.sweep.workdir import folder_of
from tokjax.training.telemetry import read_metrics
from tokjax.training.workdir import write_atomically

_MEMORY = {"device": "of the first device", "process": "of the whole process, since this device does not count its own"}


def write_report(workdir: Path, sweep: Sweep, runs: Sequence[PlannedRun]) -> Table:
    """Writes WORKDIR/table.md, .tex, .csv and report.html, and returns the table. Rows that are not done have no numbers yet."""
    measured = measured_rows(workdir, sweep, runs)
    table = table_of(sweep, measured, _notes(workdir, runs))
    for name, text in (("table.md", as_markdown(table)), ("table.tex", as_latex(table)), ("table.csv", as_csv(table))):
        write_atomically(workdir / name, text)
    plots = figures(quality_by_row(sweep, measured), [key for key in sweep.columns if key not in CODEBOOK])
    done = _first_done(workdir, runs, measured)
    streams = runs[0].config.data.validation.to_dict()
    parts = [html_part(table), plots, curves(workdir, sweep, runs), gallery_of(done, streams) if done else ""]
    write_atomically(workdir / "report.html", page(sweep.title, parts))
    return table


def _notes(workdir: Path, runs: Sequence[PlannedRun]) -> list[str]:
    """What peak memory is of, and a warning where rows were trained by different code."""
    kinds, versions = memory_kinds(workdir, runs), code_versions(workdir, runs)
    found = [f"Peak memory is that {' or '.join(_MEMORY[kind] for kind in sorted(kinds))}."] if kinds else []
    if len(versions) > 1:
        by_code = "; ".join(f"{code}: {', '.join(ids)}" for code, ids in versions.items())
        found.append(f"The runs were trained by different versions of the code ({by_code}).")
    return found


def _first_done(workdir: Path, runs: Sequence[PlannedRun], measured: Sequence[MeasuredRow]) -> dict[str, Path]:
    """A finished workdir of each row that has one, that of its first seed."""
    done = {id for row in measured for id, state in row.states.items() if state.name == DONE}
    found: dict[str, Path] = {}
    for run in runs:
        if run.id in done:
            found.setdefault(run.row, folder_of(workdir, run))
    return found


def curves(workdir: Path, sweep: Sweep, runs: Sequence[PlannedRun]) -> str:
    """HTML: the loss of training, and each column of quality, of all runs in one plot."""
    history = {run.id: read_metrics(folder_of(workdir, run)) for run in runs}
    several = several_streams(sweep.columns)
    wanted = {"loss": "loss", **{log_name(key): column_of(key, several).head for key in sweep.columns}}
    plots = []
    for key, title in wanted.items():
        series = _series(history, key)
        if series:
            plots.append(line_plot(title, series, "step", log=key == "loss"))
    return f'<h2>Training</h2><div class="plots">{"".join(plots)}</div>' if plots else ""


def _series(history: Mapping[str, Sequence[Mapping[str, float]]], key: str) -> dict[str, Points]:
    found = {id.removesuffix("/seed_0"): [(row["step"], row[key]) for row in rows if key in row] for id, rows in history.items()}
    return {name: points for name, points in found.items() if points}
