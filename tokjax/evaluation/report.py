"""The evaluation as one HTML file that needs nothing else: scores, protocol, curves, pictures. Light and dark, desk and phone."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from tokjax.evaluation.comparison import SHOWN, value_of
from tokjax.evaluation.examples import Picture
from tokjax.evaluation.gallery import gallery, map_gallery, sample_gallery
from tokjax.evaluation.page import page
from tokjax.evaluation.plots import bar_plot, line_plot

LOG_SPREAD = 100  # a positive series whose values span this ratio gets a logarithmic axis
_OF_PAIRS = {"psnr": "PSNR <small>dB</small>", "ssim": "SSIM"}
LONGEST_INLINE = 8  # entries of a dict inside a section; a longer one is folded


def write_report(
    path: str | os.PathLike[str],
    evaluation: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]] = (),
    pictures: Sequence[Picture] = (),
    maps: Mapping[str, np.ndarray] | None = None,
    samples: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Writes the page to `path`, all of it or nothing.

    Args:
      evaluation: what `evaluate` returned; further sections (model, versions, ...) are dicts, shown entry by entry.
      history: rows with `step` and scalars, of training ("loss") and of evaluations ("validation/images/psnr"), in any order.
      pictures: clips to show; those of one frame as images, others moving.
      maps: latents of some of them as colours, uint8 [t,h,w,3] by name.
      samples: generated clips to show, uint8 [t,h,w,3] by name.
    """
    name = evaluation.get("model", {}).get("name", "")
    title = f"Evaluation of {name}" if name else "Evaluation"
    parts = [_headline(evaluation), _warnings(evaluation), _sections(evaluation), _frames(evaluation["streams"])]
    parts += [_codes(evaluation), _curves(history), gallery(pictures), map_gallery(maps or {}), sample_gallery(samples or {})]
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(page(title, parts), encoding="utf-8")
    os.replace(temporary, path)


def _headline(evaluation: Mapping[str, Any]) -> str:
    """One row a stream, and a sentence on the codebook over all of them."""
    streams, codebook = evaluation["streams"], evaluation.get("codebook")
    pairs = {key: name for key, name in _OF_PAIRS.items() if any(key in one for one in streams.values())}
    shown = (*pairs, "clips", "frames", "psnr_per_frame", "codebook", "sample_ids")
    more = [key for key in dict.fromkeys(key for one in streams.values() for key in one) if key not in shown]
    names = (escape(SHOWN[key][0] if key in SHOWN else _spaced(key)) for key in more)
    head = ["stream", *pairs.values(), "clips", "frames", *names]
    head += ["codebook usage", "perplexity"] if codebook else []
    rows = [_cells("th", head)]
    for name, one in streams.items():
        cells = [
            escape(name),
            *(_bold(one, key) for key in pairs),
            f"{one['clips']:,}",
            f"{one['frames']:,}",
        ]
        cells += [_bold(one, key) if key in SHOWN else escape(_text(one.get(key, ""))) for key in more]
        cells += [f"{one['codebook']['usage']:.1%}", f"{one['codebook']['perplexity']:,.1f}"] if codebook else []
        rows.append(_cells("td", cells))
    return f'<div class="wide"><table>{"".join(rows)}</table></div>' + (_codebook(codebook) if codebook else "")


def _bold(one: Mapping[str, Any], metric: str) -> str:
    """A metric's value; a star marks one that has a warning."""
    value = value_of(one, metric)
    if value is None:
        return ""
    marked = isinstance(one[metric], Mapping) and one[metric].get("warning")
    return f"<b>{value:.{SHOWN[metric][1]}f}</b>{'*' if marked else ''}"


def _warnings(evaluation: Mapping[str, Any]) -> str:
    return "".join(f"<p><strong>Note</strong> {escape(text)}</p>" for text in evaluation.get("warnings", ()))


def _codebook(book: Mapping[str, Any]) -> str:
    several = f"{book['codebooks']} x " if book.get("codebooks", 1) > 1 else ""
    return (
        f"<p>Over all streams {book['usage']:.1%} of the {several}{book['size']:,} codes occur and "
        f"{book['dead_codes']:,} never do; perplexity {book['perplexity']:,.1f}, "
        f"{book['entropy_bits']:.2f} bits a code, {book['codes_counted']:,} counted.</p>"
    )


def _cells(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"


def _sections(evaluation: Mapping[str, Any]) -> str:
    """Everything else that the evaluation says: each dict as a list of its entries, single values under "run"."""
    rest = {key: value for key, value in evaluation.items() if key not in ("streams", "codebook", "warnings")}
    sections = {key: value for key, value in rest.items() if isinstance(value, Mapping)}
    single = {key: value for key, value in rest.items() if key not in sections}
    if single:
        sections["run"] = {**sections.get("run", {}), **single}
    return f'<section class="facts">{"".join(_section(*item) for item in sections.items())}</section>' if sections else ""


def _section(name: str, entries: Mapping[str, Any], state: str = " open") -> str:
    """Short dicts inside stand among the entries under dotted names, long ones fold."""
    long = {key: value for key, value in entries.items() if isinstance(value, Mapping) and len(_flat(value)) > LONGEST_INLINE}
    rows = _flat({key: value for key, value in entries.items() if key not in long})
    items = "".join(f"<dt>{escape(_spaced(key))}</dt><dd>{escape(text)}</dd>" for key, text in rows)
    folded = "".join(_section(key, value, "") for key, value in long.items())
    return f"<details{state}><summary>{escape(_spaced(name))}</summary><dl>{items}</dl>{folded}</details>"


def _flat(node: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in node.items():
        rows += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", _text(value))]
    return rows


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:.5g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _frames(streams: Mapping[str, Any]) -> str:
    by_frame = {name: one.get("psnr_per_frame", ()) for name, one in streams.items()}
    series = {name: list(enumerate(values, 1)) for name, values in by_frame.items() if len(values) > 1}
    if not series:
        return ""
    title = "PSNR in dB" if len(series) > 1 else f"PSNR in dB, {next(iter(series))}"
    return f'<h2>By frame</h2><div class="plots">{line_plot(title, series, "frame")}</div>'


def _codes(evaluation: Mapping[str, Any]) -> str:
    """How unevenly the codes are used."""
    shares = (evaluation.get("codebook") or {}).get("shares_by_rank")
    if not shares:
        return ""
    plot = bar_plot("Share of all tokens", shares, "codes in equal groups, most frequent first")
    return f'<h2>Codebook</h2><div class="plots">{plot}</div>'


def _curves(history: Sequence[Mapping[str, Any]]) -> str:
    """One plot for each last part of the names, so that training and all evaluations of a quantity meet; loss and PSNR first."""
    groups: dict[str, dict[str, dict[float, float]]] = {}
    for row in history:
        for key, value in row.items():
            if key != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                groups.setdefault(key.rpartition("/")[2], {}).setdefault(key, {})[row["step"]] = value
    plots = []
    for name in sorted(groups, key=lambda name: (name != "loss", name != "psnr")):
        # Evaluations come first: the first styles stand out.
        keys = sorted(groups[name], key=lambda key: "/" not in key)
        series = {_spaced(key): sorted(groups[name][key].items()) for key in keys}
        title = next(iter(series)) if len(series) == 1 else _spaced(name)
        values = [y for points in series.values() for _, y in points if math.isfinite(y)]
        spread = bool(values) and min(values) > 0 and max(values) / min(values) > LOG_SPREAD
        plots.append(line_plot(title, series, "step", log="loss" in name or spread))
    return f'<h2>Training</h2><div class="plots">{"".join(plots)}</div>' if plots else ""
