"""Models against each other, as inline SVG in the style of the report: quality by rate, and a radar of several metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from tokjax.evaluation import plots

SIZE = 460
RADIUS = 150
INNER = 0.2  # of the radius, where the worst value lies, so that no model vanishes in the middle


def rate_distortion_plot(title: str, points: Mapping[str, tuple[float, float]]) -> str:
    """A figure of one named point (bits per pixel, quality) a model."""
    xs, ys = zip(*points.values(), strict=True)
    x_ticks, y_ticks = plots.linear_ticks(0.0, max(xs), 5), plots.linear_ticks(min(ys), max(ys), 5)
    left, right, top, bottom = plots.LEFT, plots.WIDTH - plots.RIGHT, plots.TOP, plots.HEIGHT - plots.BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * (right - left),
            bottom - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * (bottom - top),
        )

    parts = [_grid(place(x_ticks[0], tick)[1], tick, left, right) for tick in y_ticks]
    parts += [_tick(place(tick, y_ticks[0])[0], tick, bottom) for tick in x_ticks]
    parts.append(f'<text class="tick" x="{(left + right) / 2}" y="{plots.HEIGHT - 4}" text-anchor="middle">bits per pixel</text>')
    for i, (name, (x, y)) in enumerate(points.items()):
        px, py = place(x, y)
        side, anchor = (-7, "end") if px > (left + right) / 2 else (7, "start")
        where = f'x="{px + side:.1f}" y="{py + 3.5:.1f}" text-anchor="{anchor}"'
        label = f'<text class="tick" {where}>{escape(name)}</text>'
        dot = f'<circle class="dot" cx="{px:.1f}" cy="{py:.1f}" r="4"/>'
        parts.append(
            f'<g class="s{i % plots.STYLES}">{dot}<title>{escape(f"{name}: {y:.5g} at {x:.5g} bits per pixel")}</title></g>'
        )
        parts.append(label)
    return _figure(title, f"0 0 {plots.WIDTH} {plots.HEIGHT}", "".join(parts))


def _grid(y: float, tick: float, left: float, right: float) -> str:
    text = f'<text class="tick" x="{left - 7}" y="{y + 3.5:.1f}" text-anchor="end">{plots.number(tick)}</text>'
    return f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>{text}'


def _tick(x: float, tick: float, bottom: float) -> str:
    text = f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{plots.number(tick)}</text>'
    return f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>{text}'


def radar_shares(values: Mapping[str, Sequence[float]], more: Mapping[str, bool]) -> dict[str, list[float]]:
    """Of each axis, where its values lie between the worst (0) and the best (1); 1 where all are the same."""
    shares = {}
    for axis, numbers in values.items():
        worst, best = (min(numbers), max(numbers)) if more[axis] else (max(numbers), min(numbers))
        shares[axis] = [1.0 if best == worst else (number - worst) / (best - worst) for number in numbers]
    return shares


def radar_plot(title: str, names: Sequence[str], values: Mapping[str, Sequence[float]], more: Mapping[str, bool]) -> str:
    """A figure as VidTok's Figure 1: an axis a metric with the best value outside, a polygon a model.

    Args:
      values: of each axis, one a name; at least three axes make an area.
      more: of each axis, whether more is better.
    """
    axes, shares = list(values), radar_shares(values, more)
    corners = [_at(i, len(axes), 1.0) for i in range(len(axes))]
    rings = [[_at(i, len(axes), share) for i in range(len(axes))] for share in (INNER, (1 + INNER) / 2, 1.0)]
    parts = [f'<path class="grid" d="{_closed(ring)}"/>' for ring in rings]
    for i, (axis, (x, y)) in enumerate(zip(axes, corners, strict=True)):
        parts.append(f'<line class="grid" x1="{SIZE / 2}" y1="{SIZE / 2}" x2="{x:.1f}" y2="{y:.1f}"/>')
        best = (max if more[axis] else min)(values[axis])
        tx, ty = _at(i, len(axes), 1.12)
        text = escape(f"{axis} {plots.number(best)}")
        parts.append(f'<text class="tick" x="{tx:.1f}" y="{ty + 4:.1f}" text-anchor="middle">{text}</text>')
    for j, name in enumerate(names):
        polygon = [_at(i, len(axes), INNER + (1 - INNER) * shares[axis][j]) for i, axis in enumerate(axes)]
        hover = escape(name + ": " + ", ".join(f"{axis} {values[axis][j]:.5g}" for axis in axes))
        parts.append(f'<g class="s{j % plots.STYLES}"><path d="{_closed(polygon)}"><title>{hover}</title></path></g>')
    return _figure(title, f"0 0 {SIZE} {SIZE}", "".join(parts), _legend(names))


def _at(i: int, count: int, share: float) -> tuple[float, float]:
    angle = 2 * math.pi * i / count - math.pi / 2
    return SIZE / 2 + RADIUS * share * math.cos(angle), SIZE / 2 + RADIUS * share * math.sin(angle)


def _legend(names: Sequence[str]) -> str:
    sample = '<svg class="sample" viewBox="0 0 22 8"><g class="s{}"><path d="M0 4L22 4"/></g></svg>'
    entries = (f"<span>{sample.format(i % plots.STYLES)}{escape(name)}</span>" for i, name in enumerate(names))
    return f'<p class="legend">{"".join(entries)}</p>'


def _closed(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z"


def _figure(title: str, box: str, body: str, legend: str = "") -> str:
    label = escape(title, quote=True)
    svg = f'<svg viewBox="{box}" role="img" aria-label="{label}">{body}</svg>'
    return f'<figure class="plot"><h3>{escape(title)}</h3>{legend}{svg}</figure>'
