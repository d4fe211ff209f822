"""The benchmark of the entropy loss: its table holds what it says, and a form that is too large is not run."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_row_that_runs_both_and_one_that_does_not():
    command = [sys.executable, "benchmarks/code_entropy.py", "--grids", "lfq", "--codes", "64", "1024", "--tokens", "256"]
    command += ["--repeats", "1", "--largest", "0.001"]
    run = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    lines = [line for line in run.stdout.splitlines() if line.startswith("|")]
    head, small, large = ([cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:]))
    small, large = dict(zip(head, small, strict=True)), dict(zip(head, large, strict=True))
    assert (small["codes"], small["tokens"], large["codes"]) == ("64", "256", "1,024")
    assert float(small["difference of loss"]) < 1e-5 and float(small["of gradient"]) < 1e-4
    assert 0 <= float(small["direct s"]) < 60 and 0 <= float(small["factorised s"]) < 60
    assert float(large["direct GB"]) > 0.001 > float(small["direct GB"])
    assert large["direct s"] == "not run" and float(large["factorised s"]) < 60
