"""A batch spread over 8 fake devices gives what it gives on one, and its vectors stay where they are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import QUICK


@pytest.mark.slow
def test_sharded_equals_single():
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parents[2])}
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {QUICK}"
    script = Path(__file__).with_name("on_eight_devices_quantizing.py")
    run = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    moved, found = map(json.loads, run.stdout.splitlines())
    assert moved == {"learn": False, "entropy_gradient": False}  # only sums over the codebook are exchanged
    assert {name.rpartition("/")[2] for name in found} >= {
        "indices",
        "embeddings",
        "counts",
        "commitment",
        "codebook_usage",
        "dead_codes",
    }
    for name, difference in found.items():
        assert difference <= (0 if name.endswith(("indices", "codes", "usage")) else 2e-5), (name, difference)
