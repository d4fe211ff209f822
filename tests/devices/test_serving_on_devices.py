"""A tokenizer on 8 fake devices gives what it gives on one; in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import QUICK

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def found():
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {QUICK}"
    command = [sys.executable, str(TESTS / "devices" / "on_eight_devices_serving.py")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=580)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize(("case", "height"), [("both", 15), ("chunks", 16), ("tiles", 16)])
def test_several_devices_give_what_one_gives(found, case, height):
    """Tiles on a mesh of the batch alone, the others with heights split too."""
    one = found[case]
    assert one["shape"] == [8 if case == "tiles" else 4, 5, height, 10, 3]
    assert one["devices"] == 8 or case == "tiles"  # whose parts come together on the host
    assert one["latents"] < 1e-5 and one["video"] < 1e-5 * max(1, one["size"])


def test_codes_are_the_same_and_decode_alone(found):
    assert found["codes"]["codes"] == 1 and found["codes"]["video"] < 1e-4


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("batch", "a batch of 6 does not split over 4 devices (data); use a multiple of 4"),
        ("height", "9 rows of latents do not split over 8 devices (context); use a height that gives a multiple of 8"),
        ("axis", "a tokenizer is laid on the mesh axes data (batch) and context (height); there is no 'dta'"),
        ("size", "the mesh data=3, fsdp=1, context=1 does not fit 8 devices"),
    ],
)
def test_what_does_not_split_is_refused_in_a_sentence(found, case, message):
    assert found[f"refused {case}"].startswith(message)
