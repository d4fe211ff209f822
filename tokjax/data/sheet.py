"""A contact sheet: clips of every stream as the model will see them, in one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping
from html import escape
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tokjax.data.clips import read_clip
from tokjax.data.records import BadRecord
from tokjax.data.sources import Source

MOST_FRAMES = 8  # of a clip, evenly chosen
_STYLE = """:root { color-scheme: light dark } body { font: 15px/1.5 system-ui, sans-serif; margin: 32px auto; max-width: 1100px;
padding: 0 20px } table { border-collapse: collapse } th { text-align: left; font-weight: 400; opacity: .65 }
th, td { padding: 2px 20px 2px 0; vertical-align: top; overflow-wrap: anywhere } figure { margin: 0 0 18px }
figcaption { font-size: 13px; opacity: .75; overflow-wrap: anywhere } img { display: block; max-width: 100%; height: auto }
h2 { margin-top: 40px }"""


class Look(NamedTuple):
    """Attributes:
    facts: what there is to know about a stream, by name.
    clips: (caption, uint8 [t,h,w,3]) of some records.
    bad: (id, reason) of those among them that cannot be used.
    """

    facts: dict[str, str]
    clips: list[tuple[str, np.ndarray]]
    bad: list[tuple[str, str]]


def look(source: Source, stream: Mapping[str, Any], samples: int, training: bool) -> Look:
    """Reads some records, evenly spread over the source.

    Args:
      training: crops and starts are drawn as in training; otherwise they are those of evaluation.
    """
    clips, bad, labels = [], [], Counter()
    places = np.unique(np.linspace(0, len(source) - 1, samples).astype(int))
    for place in places:
        rng = np.random.default_rng(int(place)) if training else None
        try:
            record, clip = read_clip(source, int(place), stream, rng)
        except BadRecord as error:
            bad.append((error.id, str(error)))
            continue
        clips.append((record.id if record.label is None else f"{record.id}, class {record.label}", clip))
        labels[record.label] += 1
    return Look(_facts(source, stream, clips, bad, labels), clips, bad)


def _facts(source: Source, stream: Mapping[str, Any], clips: list, bad: list, labels: Counter) -> dict[str, str]:
    shapes = Counter("x".join(map(str, clip.shape)) for _, clip in clips)
    return {
        "kind": stream["kind"],
        "path": stream["path"],
        "records": f"{len(source):,}",
        "size": f"{source.size() / 1e6:,.1f} MB, {source.size() / len(source) / 1e3:,.1f} kB a record",
        "clips [t,h,w,c]": ", ".join(shapes) or "none",
        "batch": str(stream["batch"]),
        "classes": f"{len(labels)} among {len(clips)} samples" if labels.keys() - {None} else "none",
        "samples that cannot be used": f"{len(bad)} of {len(clips) + len(bad)}",
        "fingerprint": source.fingerprint(),
    }


def page(looks: Mapping[str, Look]) -> str:
    """The HTML of the sheet."""
    parts = [f"<h2>{escape(name)}</h2>{_table(one.facts)}{_bad(one.bad)}{_figures(one.clips)}" for name, one in looks.items()]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
    return (
        f"<!doctype html><html lang=en><head>{head}<title>Data</title></head><body><h1>Data</h1>{''.join(parts)}</body></html>\n"
    )


def _table(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts.items())
    return f"<table>{rows}</table>"


def _bad(bad: list[tuple[str, str]]) -> str:
    rows = "".join(f"<li>{escape(name)}: {escape(reason)}</li>" for name, reason in bad)
    return f"<ul>{rows}</ul>" if rows else ""


def _figures(clips: list[tuple[str, np.ndarray]]) -> str:
    return "".join(f"<figure>{_strip(clip)}<figcaption>{escape(name)}</figcaption></figure>" for name, clip in clips)


def _strip(clip: np.ndarray) -> str:
    """Some frames of a clip side by side; of tokens nothing."""
    if clip.dtype != np.uint8:
        return ""
    chosen = np.unique(np.linspace(0, len(clip) - 1, MOST_FRAMES).astype(int))
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(clip[chosen], axis=1)).save(buffer, "JPEG", quality=85)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
