"""`tokjax benchmark`: its table and its JSON say the same, and what was asked for; bad input is one line."""

import json
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from tiny_tokenizer import tiny_tokenizer, write_tiny
from two_products_model import TwoProducts, product_flops

from tokjax import __version__, cli
from tokjax.models.convolution import CONVOLUTION_FORM
from tokjax.models.cost import count_flops

EXPERIMENT = Path(__file__).parents[1] / "tiny_experiment.py"
FACTS = {"model", "dtype", "peak_tflops", "command", "device", "cpu_cores", "versions", "xla_flags", "date", "rows"}


def ran(capsys, monkeypatch, *argv):
    """(the table's lines, the JSON) of a benchmark in the working directory."""
    argv = ["benchmark", *argv, "--json", "out.json"]
    monkeypatch.setattr(sys, "argv", ["tokjax", *argv])
    assert cli.main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines.pop() == "wrote out.json"
    return lines, json.loads(Path("out.json").read_text())


def test_table_and_json_of_a_config(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tokjax.models.tokenizer.build", lambda config: TwoProducts())
    shutil.copy(EXPERIMENT, "one.py")
    asked = "--config one.py:joint --config.training.accumulation=2 --frames 3 --size 8 --batch 4,2,2 --repeats 3 --peak-tflops 2"
    lines, result = ran(capsys, monkeypatch, *asked.split())
    rows = result["rows"]
    assert result.keys() == FACTS
    assert [(row["work"], row["batch"]) for row in rows] == [
        (work, batch) for work in ("encode", "decode", "reconstruct", "train") for batch in (2, 4)
    ]
    assert result["command"] == f"tokjax benchmark {asked} --json out.json"
    assert result["model"] == "one.py:joint" and result["dtype"] == "float32" and result["peak_tflops"] == 2
    assert result["versions"]["tokjax"] == __version__ and result["versions"]["jax"] == jax.__version__
    assert lines[0] == "one.py:joint, clips 3x8x8, float32, 1 x cpu, peak 2 TFLOP/s each"
    for line, row in zip(lines[2:], rows, strict=True):
        assert row["repeats"] == 3 and row["fastest"] <= row["seconds"] <= row["slowest"]
        assert row["frames_per_second"] * row["seconds"] == pytest.approx(3 * row["batch"])
        assert row["flops"] == product_flops(row["batch"], 3, 8) * {"reconstruct": 2, "train": 5}.get(row["work"], 1)
        assert row["mfu"] * 2e12 * row["seconds"] == pytest.approx(row["flops"])
        work, batch, milliseconds, frames_per_second, *_ = line.split()
        assert (work, int(batch)) == (row["work"], row["batch"])
        assert float(milliseconds) == pytest.approx(row["seconds"] * 1e3, abs=0.006)
        assert float(frames_per_second.replace(",", "")) == pytest.approx(row["frames_per_second"], abs=0.06)
        fastest = max(one["frames_per_second"] for one in rows if one["work"] == work)
        assert line.endswith(" *") == row["best"] == (row["frames_per_second"] == fastest)


def test_a_trained_model_in_another_dtype(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path, "fsq")
    asked = "fsq_0 --frames 3 --size 4 --what encode --repeats 1 --dtype bfloat16"
    lines, result = ran(capsys, monkeypatch, *asked.split())
    assert lines[0] == "fsq_0, clips 3x4x4, bfloat16, 1 x cpu, peak unknown"
    assert result["dtype"] == "bfloat16" and result["peak_tflops"] is None
    [row] = result["rows"]
    tokenizer, video = tiny_tokenizer("fsq"), jax.ShapeDtypeStruct((1, 3, 4, 4, 3), jnp.float32)
    token = CONVOLUTION_FORM.set("direct")
    flops = count_flops(lambda v, x: tokenizer.module.apply(v, x, method="encode").indices, tokenizer.variables, video)
    CONVOLUTION_FORM.reset(token)
    assert (row["work"], row["batch"], row["flops"], row["mfu"], row["best"]) == ("encode", 1, flops, None, True)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "give either MODEL or --config FILE[:VARIANT]"),
        ("run --config one.py", "give either MODEL or --config FILE[:VARIANT]"),
        ("run --config.model.remat=true", "--config.model.remat=true changes a --config, not the model that was trained in run"),
        ("run", "run is neither an export nor a training workdir"),
        (
            "--config one.py --what encode,dceode",
            "unknown work 'dceode' to measure; there are: encode, decode, reconstruct, train",
        ),
        ("--config one.py --repeats 0", "must be at least 1, not 0"),
        ("--config one.py --batch 1,two", "--batch wants whole numbers with commas between them, such as 1,2,4, not '1,two'"),
        ("--config one.py --batch 0", "must be at least 1, not 0"),
        ("--config one.py --frames 16", "pads clips of 16 frames; measure a length that it does not: 15 or 17"),
        ("--config one.py --size 127", "pads sides of 127 pixels; measure a size that it does not: 126 or 128"),
        ("--config one.py --peak-tflops 0", "--peak-tflops must be positive, not 0"),
        ("--config one.py --dtype float16", "config.model.dtype must be one of float32, bfloat16"),
        ("--config one.py --json none/out.json", "cannot write none/out.json: there is no folder none"),
        ("--config one.py --config.mesh.data=3", "the mesh data=3, fsdp=1, context=1 does not fit 1 devices"),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(tmp_path, capsys, monkeypatch, line, message):
    monkeypatch.chdir(tmp_path)
    shutil.copy(EXPERIMENT, "one.py")
    monkeypatch.setattr("tokjax.training.throughput_report.measure", None)  # calling it would be a TypeError
    assert cli.main(["benchmark", *line.split()]) == 1
    out, err = capsys.readouterr()
    err = err.splitlines()[-1]
    assert out == "" and err.startswith("tokjax: ") and message in err
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["one.py"]
