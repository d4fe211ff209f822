import math
import re

import pytest

from tokjax.evaluation.plots import MOST_POINTS, STYLES, line_plot, linear_ticks, log_ticks, number


def curve(svg, style=0):
    """The drawn points of a series in the picture's units."""
    path = re.search(rf'<g class="s{style}"><path d="([^"]*)"', svg.split('role="img"')[1]).group(1)
    return [tuple(map(float, part.split())) for part in re.findall(r"[ML]([^ML]+)", path)]


def axis(svg, anchor, value):
    """(label, position) of the ticks of one axis."""
    marks = re.findall(rf'class="tick" x="([\d.]+)" y="([\d.]+)" text-anchor="{anchor}">([-\d.]+)<', svg)
    return [(float(text), float(x if value == "x" else y)) for x, y, text in marks]


@pytest.mark.parametrize("log", [False, True])
def test_points_stand_where_the_ticks_say(log):
    points = [(0, 2.0), (5, 30.0), (10, 7.5), (20, 180.0)]
    svg = line_plot("t", {"a": points}, "step", log)
    (x0, at0), *_, (x1, at1) = axis(svg, "middle", "x")
    (y0, up0), *_, (y1, up1) = axis(svg, "end", "y")
    scale = math.log if log else float
    for (x, y), (px, py) in zip(points, curve(svg), strict=True):
        assert px == pytest.approx(at0 + (x - x0) / (x1 - x0) * (at1 - at0), abs=0.11)
        # Labels stand 3.5 below their lines.
        height = up0 + (scale(y) - scale(y0)) / (scale(y1) - scale(y0)) * (up1 - up0) - 3.5
        assert py == pytest.approx(height, abs=0.11)
    assert ("log scale" in svg) == log


def test_values_that_are_not_positive_get_a_linear_axis():
    assert "log scale" not in line_plot("t", {"a": [(0, -1.0), (1, 10.0)]}, "step", log=True)


def test_a_value_that_is_not_finite_breaks_the_line_and_is_counted():
    svg = line_plot("t", {"a": [(0, 1.0), (1, 2.0), (2, math.nan), (3, math.inf), (4, 1.0), (5, 3.0)]}, "step")
    path = re.search(r'<path d="([^"]*)"', svg).group(1)
    assert (path.count("M"), path.count("L")) == (2, 2)
    assert "2 not finite" in svg
    assert "nan" not in svg
    assert "No value is finite" in line_plot("t", {"a": [(0, math.nan)]}, "step")


def test_long_series_are_drawn_as_means():
    points = [(i, float(i % 4)) for i in range(4 * MOST_POINTS)]
    svg = line_plot("t", {"a": points}, "step")
    drawn = curve(svg)
    assert len(drawn) == MOST_POINTS
    assert {y for _, y in drawn} == {drawn[0][1]}  # every run of 4 has the mean 1.5
    assert "a: 1.5 at step 3<" in svg
    assert "means of 4 rows" in svg


def test_names_are_escaped_and_styles_reused():
    svg = line_plot("<t>", {f"<{i}>&": [(0, i), (1, i + 1)] for i in range(STYLES + 1)}, "s>")
    assert "<0>" not in svg and "&lt;0&gt;&amp;" in svg and "<t>" not in svg
    assert svg.split('role="img"')[1].count('<g class="s0">') == 2


def test_one_point_and_constant_series_are_drawn():
    for points in ([(5, 3.0)], [(0, 0.0), (1, 0.0)], [(0, 2.0), (10, 2.0)]):
        assert len(curve(line_plot("t", {"a": points}, "step", log=True))) == len(points)


def test_ticks():
    assert linear_ticks(12.2, 29.1, 5) == [10, 15, 20, 25, 30]
    assert linear_ticks(0.83, 0.91, 5) == pytest.approx([0.82, 0.84, 0.86, 0.88, 0.9, 0.92])
    assert linear_ticks(1, 17, 5, whole=True) == [5, 10, 15]
    assert linear_ticks(1, 3, 5, whole=True) == [1, 2, 3]
    assert log_ticks(60, 1500) == pytest.approx([50, 100, 200, 500, 1000, 2000])
    assert log_ticks(3e-4, 40) == pytest.approx([1e-3, 1e-2, 1e-1, 1, 10])
    assert log_ticks(999.9999999999999, 1000) == pytest.approx([500, 1000])
    assert [number(v) for v in (0.00012, 1500, 20000, 3e6)] == ["0.00012", "1500", "20k", "3M"]
