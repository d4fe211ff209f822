"""Samples as files: one each, a grid of the first ones, a list, and a page that shows them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from tokjax.data.decode import write_image, write_video
from tokjax.evaluation.page import page

IN_GRID = 64  # samples at most
GAP = 2  # pixels between the samples of a grid


def write_album(folder: Path, samples: Iterable[np.ndarray], labels: Sequence[int], about: Mapping[str, Any], fps: float) -> int:
    """Writes samples uint8 [t,h,w,3] as PNG (one frame) or MP4, `grid.png` or `grid.mp4`, `samples.json` and `index.html`.

    Args:
      labels: of the samples, -1 for none.
      about: what the page says of how they were made.
      fps: frames per second of videos.

    Returns:
      How many there are.
    """
    names, shown = [], []
    for number, (sample, label) in enumerate(zip(samples, labels, strict=True)):
        kind = f"{number:06d}" if label < 0 else f"{number:06d}_class_{label:04d}"
        names.append(f"{kind}.{'png' if len(sample) == 1 else 'mp4'}")
        write_sample(folder / "samples" / names[-1], sample, fps)
        if number < IN_GRID:
            shown.append(sample)
    rows = [{"file": f"samples/{name}", "label": label} for name, label in zip(names, labels, strict=True)]
    (folder / "samples.json").write_text(json.dumps({"about": dict(about), "samples": rows}, indent=2))
    grid = grid_of(shown)
    write_sample(folder / f"grid.{'png' if len(grid) == 1 else 'mp4'}", grid, fps)
    (folder / "index.html").write_text(_page(rows, about))
    return len(names)


def write_sample(path: Path, sample: np.ndarray, fps: float) -> None:
    """uint8 [t,h,w,3] as an image or a video, whichever the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        write_image(path, sample[0])
    else:
        write_video(path, list(sample), fps)


def grid_of(samples: Sequence[np.ndarray]) -> np.ndarray:
    """Samples of one size in rows, as near to a square as they go, white between them; even sides, as videos want them."""
    count, (t, h, w, _) = len(samples), samples[0].shape
    columns = math.ceil(math.sqrt(count))
    rows = -(-count // columns)
    height, width = rows * (h + GAP) - GAP, columns * (w + GAP) - GAP
    grid = np.full((t, height + height % 2, width + width % 2, 3), 255, np.uint8)
    for number, sample in enumerate(samples):
        top, left = (number // columns) * (h + GAP), (number % columns) * (w + GAP)
        grid[:, top : top + h, left : left + w] = sample
    return grid


def _page(rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> str:
    facts = "".join(f"<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>" for key, value in about.items())
    cells = "".join(_cell(row) for row in rows[:IN_GRID])
    more = f"<p>The first {IN_GRID} of {len(rows)} samples.</p>" if len(rows) > IN_GRID else ""
    return page("Samples", [f"<dl>{facts}</dl>", f'<h2>Samples</h2>{more}<div class="stills">{cells}</div>'])


def _cell(row: Mapping[str, Any]) -> str:
    source = escape(row["file"], quote=True)
    label = f"<small>class {row['label']}</small>" if row["label"] >= 0 else ""
    if source.endswith(".png"):
        return f'<div><img src="{source}" alt="">{label}</div>'
    return f'<div><video src="{source}" autoplay loop muted playsinline width="100%"></video>{label}</div>'
