"""Several evaluations as one table, in the layout of the papers': cost on the left, quality on the right, the protocol above.

Only numbers of one protocol stand in one column: what differs makes a column of its own, and a note says what it is.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tokjax.data.sources import DataError
from tokjax.evaluation.page import page

# Metric -> its name in a table, digits behind the point, and whether more is better.
SHOWN = {
    "psnr": ("PSNR", 2, True),
    "psnr_capped": ("PSNR (capped)", 2, True),
    "ssim": ("SSIM", 4, True),
    "ssim_unpooled": ("SSIM (unpooled)", 4, True),
    "ssim_luma": ("SSIM (luma)", 4, True),
    "ssim_uniform": ("SSIM (uniform)", 4, True),
    "flicker": ("flicker", 4, False),
    "lpips_vgg16": ("LPIPS (VGG)", 4, False),
    "lpips_alexnet": ("LPIPS (Alex)", 4, False),
    "fid_torch": ("FID (torch)", 2, False),
    "fid_tf1": ("FID (tf1)", 2, False),
    "inception_score": ("IS", 2, True),
    "precision": ("precision", 3, True),
    "recall": ("recall", 3, True),
    "fvd_omnitokenizer": ("FVD (omnitokenizer)", 2, False),
    "fvd_videogpt": ("FVD (videogpt)", 2, False),
    "fvd_styleganv": ("FVD (styleganv)", 2, False),
    "fvd_styleganv_official": ("FVD (styleganv official)", 2, False),
    "fvd_tfhub": ("FVD (tfhub)", 2, False),
}
_COST = {
    "bits_per_pixel": ("bits/pixel", lambda value: f"{value:.4f}"),
    "compression_ratio": ("compression", lambda value: f"{value:.0f}x"),
    "pixel_values_per_latent_value": ("values/latent", lambda value: f"{value:.0f}"),
    "parameters": ("parameters", lambda value: f"{value / 1e6:.1f} M"),
    "flops": ("FLOPs/clip", lambda value: f"{value / 1e12:.2f} T"),
    "frames_per_second": ("frames/s", lambda value: f"{value:.1f}"),
}


@dataclasses.dataclass(frozen=True)
class Table:
    """Attributes:
    columns: heads, the first is that of the names.
    rows: texts, "–" where there is no number.
    best: of each column, the rows that are best in it.
    notes: what the numbers are by, and what is not as it should be.
    """

    columns: list[str]
    rows: list[list[str]]
    best: list[set[int]]
    notes: list[str]


def value_of(one: Mapping[str, Any], metric: str) -> float | None:
    """A stream's number, whether it stands alone or with how it came about."""
    found = one.get(metric)
    return found.get("value") if isinstance(found, Mapping) else found


def metrics_text(one: Mapping[str, Any], behind_psnr: str = "") -> str:
    """A stream's numbers in a line: "PSNR 29.64 dB, SSIM 0.8522"."""
    parts = []
    for metric, (name, digits, _) in SHOWN.items():
        value = value_of(one, metric)
        if value is not None:
            mark = "*" if isinstance(one[metric], Mapping) and one[metric].get("warning") else ""
            unit = " dB" if metric.startswith("psnr") else ""
            parts.append(f"{name} {value:.{digits}f}{mark}{unit}{behind_psnr if metric == 'psnr' else ''}")
    return ", ".join(parts)


def read_evaluations(folders: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """The evaluation.json in each folder (or of a model's folder `evaluation`), by a name that tells them apart.

    Raises:
      DataError: there is none, or it is damaged.
    """
    found = {}
    for folder in folders:
        path = next(
            (place for place in (folder / "evaluation.json", folder / "evaluation" / "evaluation.json") if place.is_file()), None
        )
        if path is None:
            raise DataError(f"{folder} holds no evaluation.json; make it with `tokjax evaluate`")
        try:
            content = json.loads(path.read_text())
            name = content.get("model", {}).get("name") or folder.name
            content["streams"].items()
        except (ValueError, KeyError, AttributeError) as error:
            raise DataError(f"{path} is no result of `tokjax evaluate`") from error
        found[f"{name} ({folder})" if name in found else name] = content
    return found


def table_of(evaluations: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row a stream of each evaluation, in the order given."""
    rows = [(name, stream, content) for name, content in evaluations.items() for stream in content["streams"]]
    labels = [name if len(content["streams"]) == 1 else f"{name}: {stream}" for name, stream, content in rows]
    columns, cells, best = ["model"], [[label] for label in labels], [set()]
    for key, (head, text) in _COST.items():
        values = [_cost(content, stream, key) for _, stream, content in rows]
        _add_column(columns, cells, best, (head, values, text), None)
    for metric, (head, digits, more) in SHOWN.items():
        for label in dict.fromkeys(_protocol_of(content) for _, _, content in rows):
            own = [
                value_of(content["streams"][stream], metric) if _protocol_of(content) == label else None
                for _, stream, content in rows
            ]
            _add_column(
                columns, cells, best, (f"{head} [{label}]", own, lambda value, digits=digits: f"{value:.{digits}f}"), more
            )
    columns = _without_needless_labels(columns)
    return Table(columns, cells, best, _notes(evaluations))


def _add_column(
    columns: list[str],
    cells: list[list[str]],
    best: list[set[int]],
    column: tuple[str, Sequence[float | None], Callable[[float], str]],
    more: bool | None,
) -> None:
    """Unless nobody has a number for it; `more` says whether the largest is the best, None that none is."""
    head, values, text = column
    known = [value for value in values if value is not None]
    if not known:
        return
    arrow = {None: "", True: " ↑", False: " ↓"}[more]
    columns.append(head + arrow)
    for row, value in zip(cells, values, strict=True):
        row.append("–" if value is None else text(value))
    goal = None if more is None or len(known) < 2 else (max if more else min)(known)
    best.append({i for i, value in enumerate(values) if value is not None and value == goal})


def _cost(content: Mapping[str, Any], stream: str, key: str) -> float | None:
    found = content.get("cost", {}).get(key)
    if found is None:
        found = content["streams"][stream].get(key)
    return content.get("model", {}).get(key) if found is None else found


def _protocol_of(content: Mapping[str, Any]) -> str:
    """The label of its numbers: preset and overrides, and which data."""
    protocol = content.get("protocol", {})
    changed = ", ".join(f"{key}={value}" for key, value in protocol.get("overrides", {}).items() if key != "metrics")
    data = content.get("data", {}).get("fingerprint", "")[:6]
    return ", ".join(filter(None, (protocol.get("preset", "own streams"), changed, f"data {data}" if data else "")))


def _without_needless_labels(columns: list[str]) -> list[str]:
    """Where all numbers have one label it stands in the notes only."""
    labels = {head[head.index("[") :].rstrip(" ↑↓") for head in columns if "[" in head}
    if len(labels) > 1:
        return columns
    return [head[: head.index(" [")] + head[-2:] if "[" in head else head for head in columns]


def _notes(evaluations: Mapping[str, Mapping[str, Any]]) -> list[str]:
    labels = dict.fromkeys(_protocol_of(content) for content in evaluations.values())
    notes = [f"Protocol: {'; '.join(labels)}."]
    for name, content in evaluations.items():
        notes += [f"{name}: {warning}." for warning in content.get("warnings", ())]
    return notes


def write_tables(evaluations: Mapping[str, Mapping[str, Any]], output: Path) -> str:
    """Writes OUTPUT.md, .tex, .csv and .html, and returns the first.

    Raises:
      DataError: the folder does not exist.
    """
    if not output.parent.is_dir():
        raise DataError(f"cannot write {output}.md: the folder {output.parent} does not exist")
    table = table_of(evaluations)
    texts = {".md": as_markdown(table), ".tex": as_latex(table), ".csv": as_csv(table), ".html": as_html(table)}
    for suffix, text in texts.items():
        output.with_name(output.name + suffix).write_text(text, encoding="utf-8")
    return texts[".md"]


def as_markdown(table: Table) -> str:
    """The best numbers are bold."""
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" + "---:|" * (len(table.columns) - 1)]
    for i, row in enumerate(table.rows):
        marked = [f"**{text}**" if i in table.best[j] else text.replace("|", "\\|") for j, text in enumerate(row)]
        lines.append("| " + " | ".join(marked) + " |")
    return "\n".join([*lines, "", *table.notes]) + "\n"


_LATEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--"}


def as_latex(table: Table) -> str:
    """A `tabular` for booktabs."""

    def safe(text: str) -> str:
        return "".join(_LATEX.get(letter, letter) for letter in text)

    lines = [*(f"% {note}" for note in table.notes), rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}", r"\toprule"]
    lines += [" & ".join(map(safe, table.columns)) + r" \\", r"\midrule"]
    for i, row in enumerate(table.rows):
        marked = [rf"\textbf{{{safe(text)}}}" if i in table.best[j] else safe(text) for j, text in enumerate(row)]
        lines.append(" & ".join(marked) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def as_csv(table: Table) -> str:
    """Heads and rows, without notes."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([table.columns, *table.rows])
    return file.getvalue()


def as_html(table: Table) -> str:
    """A page of its own."""
    return page("Comparison", [html_part(table)])


def html_part(table: Table) -> str:
    """The table and its notes, for a page."""
    head = "".join(f"<th>{escape(text)}</th>" for text in table.columns)
    body = ""
    for i, row in enumerate(table.rows):
        cells = (f"<td>{f'<b>{escape(text)}</b>' if i in table.best[j] else escape(text)}</td>" for j, text in enumerate(row))
        body += f"<tr>{''.join(cells)}</tr>"
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>\n{notes}'
