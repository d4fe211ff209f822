"""The comparison with PyTorch: both sides agree, the numbers agree with each other, and a disagreement is not timed."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = ["--channels", "4", "--size", "16", "--frames", "5", "--repeats", "3", "--threads", "1"]

pytestmark = pytest.mark.slow
pytest.importorskip("diffusers")


def ran(*argv):
    command = [sys.executable, "benchmarks/vidtok_against_torch.py", *TINY, *argv]
    settings = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("which", [[], ["--forms"]])
def test_numbers_agree(which, tmp_path):
    run = ran(*which, "--json", str(tmp_path / "out.json"))
    assert run.returncode == 0, run.stderr[-2000:]
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["channels"] == 4 and result["versions"]["torch"] and result["cpu_cores"] == 1
    names = [row["name"] for row in result["rows"]]
    assert len(names) > 20 if which else names == ["encode", "decode", "both"]
    for row, line in zip(result["rows"], run.stdout.splitlines()[1:], strict=True):
        assert row["difference"] < 1e-4
        theirs, ours = (statistics.median(side) for side in row["seconds"])
        assert [len(side) for side in row["seconds"]] == [3, 3]
        assert (row["torch"], row["tokjax"], row["ratio"]) == (theirs, ours, theirs / ours)
        assert line.startswith(row["name"]) and f"{row['ratio']:.2f}" in line.split()


def test_results_that_differ_are_not_timed():
    run = ran("--forms", "--tolerance", "0")
    assert run.returncode == 1 and "nothing was timed" in run.stderr and "torch ms" not in run.stdout
