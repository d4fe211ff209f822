"""Both players on 8 fake devices learn what they learn on one: batch statistics, averages and norms are of the whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import QUICK

TESTS = Path(__file__).parents[1]


@pytest.mark.slow
def test_sharded_equals_single():
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(map(str, (TESTS.parent, TESTS)))}
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {QUICK}"
    script = Path(__file__).with_name("on_eight_devices_judging.py")
    run = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert {"discriminator_video", "discriminator_image", "adaptive_weight", "lecam_video"} < found["one"][0].keys()
    for mesh in ("batch", "height"):
        for one, other in zip(found["one"], found[mesh], strict=True):
            for name, value in one.items():
                assert other[name] == pytest.approx(value, rel=1e-3, abs=1e-5), (mesh, name)
    assert found["one"][0]["loss"] != found["one"][1]["loss"]
