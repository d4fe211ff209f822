"""Models of tokens on 8 fake devices: the losses, parameters and samples of one device; heads and hidden channels stay split."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import QUICK

TESTS = Path(__file__).parents[1]
KERNEL = 128 * 128 * 4  # bytes of the smallest kernel of attention; activations of a device are as many or more


def measured(*what: str) -> dict:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {QUICK}"
    command = [sys.executable, str(TESTS / "devices" / "on_eight_devices_generating.py"), *what]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=580)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def as_on_one(found: dict) -> None:
    assert found["loss"] < 1e-4 and found["parameter"] < 1e-4 < 1e-2 < found["moved"], found


def keeps_split(found: dict) -> None:
    """Neither a parameter of attention or MLP nor an activation is brought together from the devices of tensor."""
    assert found["tensor"] >= 6 and all(one[0] < KERNEL / 4 for one in found["gathered"]), found


def test_a_language_model_with_split_heads_and_hidden_channels():
    found = measured("language/tensor")["language/tensor"]["tensor"]
    as_on_one(found)
    keeps_split(found)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["language", "published", "dit", "latte"])
def test_every_axis_gives_what_one_device_gives(model):
    what = f"{model}/data,fsdp,tensor,context,all"
    found = measured(what)[what]
    for name, one in found.items():
        as_on_one(one)
        assert (one["fsdp"] > 4) == (name in ("fsdp", "context", "all")), (name, one)
        assert (one["tensor"] > 4) == (name in ("tensor", "all")), (name, one)
    keeps_split(found["tensor"])


@pytest.mark.slow
def test_samples_are_those_of_one_device():
    found = measured("sampling")["sampling"]
    assert found["different"] == 8
    for name in ("data", "tensor"):
        assert found[name]["codes"] == 1 and found[name]["devices"] == 8, found
        assert found[name]["latents"] < 1e-4, found
    assert found["pictures"] == [True] * 3
