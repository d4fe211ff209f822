"""The table of a sweep: what was measured, and beside it, in columns of their own, what the paper prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from tokjax.evaluation.comparison import Table
from tokjax.sweep.columns import COST, Column, column_of, several_streams
from tokjax.sweep.measured import MeasuredRow, deviation_of
from tokjax.sweep.rows import Sweep


def table_of(sweep: Sweep, measured: Sequence[MeasuredRow], notes: Sequence[str] = ()) -> Table:
    """Rows in the sweep's order. The best is marked among what was measured, and among the paper's, never across the two."""
    heads, cells, best = ["row"], [[row.name] for row in sweep.rows], [set()]
    for fact in dict.fromkeys(head for row in sweep.rows for head in row.facts):
        heads.append(fact)
        best.append(set())
        for line, row in zip(cells, sweep.rows, strict=True):
            line.append(row.facts.get(fact, "–"))
    several = several_streams(sweep.columns)
    for key in (*sweep.columns, *COST):
        column = column_of(key, several)
        ours = [row.values.get(key, ()) for row in measured]
        if key in sweep.columns or any(ours):
            _add(heads, cells, best, column, [_text(values, column) for values in ours], [_mean(values) for values in ours])
        printed = [row.paper.get(key) for row in sweep.rows]
        if any(value is not None for value in printed):
            texts = [_printed(value, column) for value in printed]
            paper = Column(f"{column.head} (paper)", column.text, column.more)
            _add(heads, cells, best, paper, texts, [value if isinstance(value, int | float) else None for value in printed])
    return Table(heads, cells, best, [*_notes(sweep, measured), *notes])


def _add(
    heads: list[str],
    cells: list[list[str]],
    best: list[set[int]],
    column: Column,
    texts: Sequence[str],
    values: Sequence[float | None],
) -> None:
    heads.append(column.head + {None: "", True: " ↑", False: " ↓"}[column.more])
    for line, text in zip(cells, texts, strict=True):
        line.append(text)
    known = [value for value in values if value is not None]
    goal = (max if column.more else min)(known) if column.more is not None and len(known) > 1 else None
    best.append({i for i, value in enumerate(values) if value is not None and value == goal})


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _text(values: Sequence[float], column: Column) -> str:
    """The mean over seeds, ± their deviation."""
    if not values:
        return "–"
    spread = deviation_of(values)
    return column.text(fmean(values)) + (f" ± {column.text(spread)}" if spread is not None else "")


def _printed(value: float | str | None, column: Column) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else column.text(value)


def _notes(sweep: Sweep, measured: Sequence[MeasuredRow]) -> list[str]:
    found = [f"Columns with (paper) are the numbers of {sweep.source}, not measured here."] if sweep.source else []
    if any(deviation_of(values) is not None for row in measured for values in row.values.values()):
        found.append("Mean ± standard deviation over seeds.")
    return [*found, *sweep.notes, *(note for row in measured for note in row.notes)]


def quality_by_row(sweep: Sweep, measured: Sequence[MeasuredRow]) -> Mapping[str, Mapping[str, float]]:
    """The means, by row and column, of the rows that have any of the sweep's columns."""
    found = {row.name: {key: fmean(values) for key, values in row.values.items()} for row in measured}
    return {name: values for name, values in found.items() if any(key in values for key in sweep.columns)}
