import csv
import io
import json

import pytest

from tokjax.data.sources import DataError
from tokjax.evaluation.comparison import (
    as_csv,
    as_html,
    as_latex,
    as_markdown,
    metrics_text,
    read_evaluations,
    table_of,
    write_tables,
)


def evaluation(name, psnr, fid=None, preset="vidtok", warnings=(), **cost):
    stream = {"clips": 3, "psnr": psnr}
    if fid is not None:
        stream["fid_torch"] = {"value": fid, "samples": 3, "warning": "over 3 samples"}
    protocol = {"preset": preset, "overrides": {"frames": 16, "metrics": ["psnr"]}}
    data = {"fingerprint": "abcdef0123"}
    return {
        "model": {"name": name},
        "streams": {"videos": stream},
        "protocol": protocol,
        "cost": cost,
        "data": data,
        "warnings": list(warnings),
    }


def test_one_protocol_is_one_column():
    first = evaluation(
        "a_1", 29.641, 12.3, bits_per_pixel=0.0625, compression_ratio=384.0, parameters=157_000_000, flops=20.69e12
    )
    table = table_of({"a_1": first, "b|2": evaluation("b|2", 31.0, None, warnings=["too few"])})
    assert table.columns == ["model", "bits/pixel", "compression", "parameters", "FLOPs/clip", "PSNR ↑", "FID (torch) ↓"]
    assert table.rows == [
        ["a_1", "0.0625", "384x", "157.0 M", "20.69 T", "29.64", "12.30"],
        ["b|2", "–", "–", "–", "–", "31.00", "–"],
    ]
    assert table.best[5] == {1} and table.best[6] == set() and table.best[1] == set()
    assert table.notes == ["Protocol: vidtok, frames=16, data abcdef.", "b|2: too few."]


def test_numbers_of_two_protocols_never_share_a_column():
    table = table_of({"a": evaluation("a", 29.0), "b": evaluation("b", 31.0, preset="omnitokenizer-video")})
    assert table.columns == [
        "model",
        "PSNR [vidtok, frames=16, data abcdef] ↑",
        "PSNR [omnitokenizer-video, frames=16, data abcdef] ↑",
    ]
    assert table.rows == [["a", "29.00", "–"], ["b", "–", "31.00"]]
    assert table.best == [set(), set(), set()]


def test_every_form_holds_the_table():
    table = table_of({"a_1": evaluation("a_1", 29.0), "b|2": evaluation("b|2", 31.0)})
    assert "| b\\|2 | **31.00** |" in as_markdown(table) and "|---|---:|" in as_markdown(table)
    assert r"a\_1 & 29.00 \\" in as_latex(table) and r"b|2 & \textbf{31.00} \\" in as_latex(table)
    assert list(csv.reader(io.StringIO(as_csv(table)))) == [table.columns, *table.rows]
    assert "<td><b>31.00</b></td>" in as_html(table) and "<script" not in as_html(table)


def test_files(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "evaluation").mkdir(parents=True)
        (tmp_path / name / "evaluation" / "evaluation.json").write_text(json.dumps(evaluation("same", 20.0)))
    found = read_evaluations([tmp_path / "one", tmp_path / "two" / "evaluation"])
    assert list(found) == ["same", f"same ({tmp_path / 'two' / 'evaluation'})"]
    text = write_tables(found, tmp_path / "table")
    assert sorted(path.name for path in tmp_path.glob("table.*")) == ["table.csv", "table.html", "table.md", "table.tex"]
    assert (tmp_path / "table.md").read_text() == text
    with pytest.raises(DataError, match=r"holds no evaluation.json"):
        read_evaluations([tmp_path])
    (tmp_path / "evaluation.json").write_text("[]")
    with pytest.raises(DataError, match="is no result of `tokjax evaluate`"):
        read_evaluations([tmp_path])


def test_a_line_of_numbers_marks_those_with_a_warning():
    one = evaluation("a", 29.641, 12.345)["streams"]["videos"]
    assert metrics_text(one, " (6.50 dB before training)") == "PSNR 29.64 dB (6.50 dB before training), FID (torch) 12.35*"
