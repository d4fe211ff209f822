"""Line plots as inline SVG. Colours come from the page's style: classes `s0`, `s1`, ... for series, `grid`, `axis`, `tick`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 460, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 36
MOST_POINTS = 300  # a longer series is drawn as the means of equal runs
MARKED_POINTS = 40  # a shorter series shows its points
STYLES = 6


def line_plot(title: str, series: dict[str, Points], x_label: str, log: bool = False) -> str:
    """A figure: title, legend of several series, and the plot with axes, ticks and a hover text at each point.

    Args:
      series: by name, (x, y) in order of x. A y that is not finite breaks its line and is counted beside the name.
      log: a logarithmic y axis, used where every y is positive.
    """
    drawn = {name: _thinned(points) for name, points in series.items()}
    finite = [(x, y) for points in drawn.values() for x, y in points if math.isfinite(y)]
    if not finite:
        return f'<figure class="plot"><h3>{escape(title)}</h3><p>No value is finite.</p></figure>'
    log = log and min(y for _, y in finite) > 0
    x_ticks = linear_ticks(min(x for x, _ in finite), max(x for x, _ in finite), 5, whole=True)
    low, high = min(y for _, y in finite), max(y for _, y in finite)
    y_ticks = log_ticks(low, high) if log else linear_ticks(low, high, 5)
    to_x = _scale(min(x_ticks[0], *(x for x, _ in finite)), max(x_ticks[-1], *(x for x, _ in finite)), LEFT, WIDTH - RIGHT)
    to_y = _scale(min(low, y_ticks[0]), max(high, y_ticks[-1]), HEIGHT - BOTTOM, TOP, log)
    body = _axes(x_ticks, y_ticks, to_x, to_y, x_label)
    body += "".join(_line(name, points, to_x, to_y, i % STYLES, x_label) for i, (name, points) in enumerate(drawn.items()))
    notes = ["log scale"] if log else []
    notes += _notes(next(iter(series.values()))) if len(series) == 1 else []
    heading = escape(title) + (f" <small>{', '.join(notes)}</small>" if notes else "")
    label = escape(f"{title} by {x_label}", quote=True)
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{body}</svg>'
    return f'<figure class="plot"><h3>{heading}</h3>{_legend(series) if len(series) > 1 else ""}{svg}</figure>'


def bar_plot(title: str, values: Sequence[float], x_label: str) -> str:
    """A figure of bars side by side, from 0 up, with a hover text at each."""
    ticks = linear_ticks(0.0, max(values) or 1.0, 4)
    to_y, width = _scale(0.0, ticks[-1], HEIGHT - BOTTOM, TOP), (WIDTH - LEFT - RIGHT) / len(values)
    bars = []
    for i, value in enumerate(values):
        top, hover = to_y(value), escape(f"{value:.3%}, bar {i + 1} of {len(values)}")
        place = f'x="{LEFT + i * width:.2f}" width="{max(0.5, width - 1):.2f}" y="{top:.1f}" height="{HEIGHT - BOTTOM - top:.1f}"'
        bars.append(f'<rect class="bar" {place}><title>{hover}</title></rect>')
    body = _axes([], ticks, float, to_y, x_label) + f'<g class="s0">{"".join(bars)}</g>'
    label = escape(f"{title} by {x_label}", quote=True)
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{body}</svg>'
    return f'<figure class="plot"><h3>{escape(title)}</h3>{svg}</figure>'


def linear_ticks(low: float, high: float, count: int, whole: bool = False) -> list[float]:
    """About `count` round numbers that enclose low..high; with `whole`, whole numbers inside low..high instead."""
    if high == low:
        if whole:
            return [low]
        low, high = low - (abs(low) * 0.1 or 1), high + (abs(high) * 0.1 or 1)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    step = max(1.0, step) if whole else step
    first, last = (math.ceil(low / step), math.floor(high / step)) if whole else (math.floor(low / step), math.ceil(high / step))
    return [i * step for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten that enclose low..high; only the powers of ten inside it where those were too many."""
    first, last = math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1
    ticks = [m * 10.0**power for power in range(first, last + 1) for m in (1, 2, 5)]
    below, above = max(t for t in ticks if t <= low), min(t for t in ticks if t >= high)
    ticks = [t for t in ticks if below <= t <= above]
    return ticks if len(ticks) <= 7 else [t for t in ticks if low <= t <= high and f"{t:e}".startswith("1.0")]


def number(value: float) -> str:
    """A short text: 4 significant digits; thousands as k, millions as M."""
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if suffix == 'k' else size):.4g}{suffix}"
    return f"{value:.4g}"


def _thinned(points: Points) -> Points:
    run = math.ceil(len(points) / MOST_POINTS)
    if run == 1:
        return points
    parts = [points[i : i + run] for i in range(0, len(points), run)]
    return [(part[-1][0], sum(y for _, y in part) / len(part)) for part in parts]


def _scale(low: float, high: float, start: float, end: float, log: bool = False) -> Callable[[float], float]:
    if log:
        low, high = math.log10(low), math.log10(high)
    if low == high:
        return lambda value: (start + end) / 2
    return lambda value: start + ((math.log10(value) if log else value) - low) / (high - low) * (end - start)


def _axes(x_ticks: list[float], y_ticks: list[float], to_x: Callable, to_y: Callable, x_label: str) -> str:
    parts = []
    for tick in y_ticks:
        y = to_y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 3.5:.1f}" text-anchor="end">{number(tick)}</text>')
    for tick in x_ticks:
        x, bottom = to_x(tick), HEIGHT - BOTTOM
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{number(tick)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="tick" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>')
    return "".join(parts)


def _line(name: str, points: Points, to_x: Callable, to_y: Callable, style: int, x_label: str) -> str:
    """One path, broken at values that are not finite, and a spot with a hover text at every point."""
    path, spots, pen = [], [], "M"
    radius = 2.4 if len(points) <= MARKED_POINTS else 0
    for x, y in points:
        if not math.isfinite(y):
            pen = "M"
            continue
        at = to_x(x), to_y(y)
        path.append(f"{pen}{at[0]:.1f} {at[1]:.1f}")
        pen = "L"
        hover = escape(f"{name}: {y:.5g} at {x_label} {x:g}")
        dot = f'<circle class="dot" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius}"/>' if radius else ""
        spots.append(f'<g>{dot}<circle class="spot" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="6"/><title>{hover}</title></g>')
    return f'<g class="s{style}"><path d="{"".join(path)}"/>{"".join(spots)}</g>'


def _notes(points: Points) -> list[str]:
    """What the drawing of a series leaves out."""
    lost, run = sum(not math.isfinite(y) for _, y in points), math.ceil(len(points) / MOST_POINTS)
    return [f"{lost} not finite"] * (lost > 0) + [f"means of {run} rows"] * (run > 1)


def _legend(series: dict[str, Points]) -> str:
    """Names with a sample of their lines."""
    entries = []
    for i, (name, points) in enumerate(series.items()):
        text = name + (f" ({', '.join(notes)})" if (notes := _notes(points)) else "")
        sample = f'<svg class="sample" viewBox="0 0 22 8"><g class="s{i % STYLES}"><path d="M0 4L22 4"/></g></svg>'
        entries.append(f"<span>{sample}{escape(text)}</span>")
    return f'<p class="legend">{"".join(entries)}</p>'
