"""The table: measured and printed numbers in columns of their own, the best of each marked, means over seeds."""

import math

import pytest

from tokjax.evaluation.comparison import as_csv, as_latex, as_markdown
from tokjax.sweep.measured import MeasuredRow, deviation_of
from tokjax.sweep.rows import Row, Sweep
from tokjax.sweep.table import table_of

ROWS = (
    Row("vq", "x.py", facts={"R.L.": "no"}, paper={"videos/psnr": "diverged"}),
    Row("lfq", "x.py", facts={"R.L.": "yes"}, paper={"videos/psnr": 28.04, "videos/lpips_vgg16": 0.133, "usage": 0.999}),
    Row("fsq", "x.py", paper={"videos/psnr": 29.82, "videos/lpips_vgg16": 0.106, "usage": 0.998, "parameters": 157e6}),
)
SWEEP = Sweep("t", ROWS, ("videos/psnr", "videos/lpips_vgg16", "usage"), "Table 3")
MEASURED = (
    MeasuredRow("vq", {"parameters": [2e6], "macs": [3e9]}, {}, ["vq/seed_0: failed, no data"]),
    MeasuredRow("lfq", {"videos/psnr": [20.0, 23.0], "usage": [0.5, 0.5], "parameters": [2e6], "macs": [3e9]}, {}, []),
    MeasuredRow("fsq", {"videos/psnr": [21.0], "usage": [0.25], "bits_per_pixel": [0.5], "device_hours": [0.0125]}, {}, []),
)


def column(table, head):
    index = table.columns.index(head)
    return [row[index] for row in table.rows], table.best[index]


def test_measured_and_printed_columns_stand_beside_each_other():
    table = table_of(SWEEP, MEASURED)
    assert table.columns == [
        *("row", "R.L.", "PSNR ↑", "PSNR (paper) ↑", "LPIPS ↓", "LPIPS (paper) ↓", "utilization ↑", "utilization (paper) ↑"),
        *("parameters", "parameters (paper)", "MACs a clip", "bits/pixel", "device hours"),
    ]
    assert column(table, "PSNR ↑") == (["–", "21.50 ± 2.12", "21.00"], {1})
    assert column(table, "PSNR (paper) ↑") == (["diverged", "28.04", "29.82"], {2})
    assert column(table, "LPIPS ↓") == (["–", "–", "–"], set())
    assert column(table, "LPIPS (paper) ↓") == (["–", "0.133", "0.106"], {2})
    assert column(table, "utilization (paper) ↑") == (["–", "99.9%", "99.8%"], {1})
    assert column(table, "parameters") == (["2.00 M", "2.00 M", "–"], set())
    assert column(table, "device hours") == (["–", "–", "0.0125"], set())


def test_notes_say_whose_numbers_they_are_and_what_failed():
    assert table_of(SWEEP, MEASURED, ["more"]).notes == [
        "Columns with (paper) are the numbers of Table 3, not measured here.",
        "Mean ± standard deviation over seeds.",
        "vq/seed_0: failed, no data",
        "more",
    ]


def test_every_format_marks_the_best_and_labels_the_papers():
    table = table_of(SWEEP, MEASURED)
    assert "| **21.50 ± 2.12** | 28.04 |" in as_markdown(table) and "PSNR (paper) ↑" in as_markdown(table)
    assert r"\textbf{29.82}" in as_latex(table) and r"99.9\%" in as_latex(table)
    assert as_csv(table).splitlines()[1].startswith("vq,no,–,diverged,")


def test_the_deviation_is_that_of_a_sample():
    assert deviation_of([20.0, 23.0, 24.0]) == pytest.approx(math.sqrt(13 / 3))
    assert deviation_of([20.0]) is None
