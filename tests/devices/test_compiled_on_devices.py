"""What the compiler makes of the layers and of a training step on 8 fake devices: memory that falls, and few messages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import QUICK

HERE = Path(__file__).parent
LAYERS = ("levels", "space", "few windows", "time", "published space", "published time")


def measured(*cases: str) -> dict:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HERE.parents[1]), "JAX_ENABLE_COMPILATION_CACHE": "0"}
    # Operations are ordered for little memory, as compilers for accelerators do, not for many cores.
    quick = f"{QUICK} --xla_cpu_enable_concurrency_optimized_scheduler=false"
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {quick}"
    command = [sys.executable, str(HERE / "on_eight_devices_compiled.py"), *cases]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=580)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.slow
def test_layers_gather_parameters_and_never_clips():
    """Two that compile quickly; and of the states of published models, discriminators too, each of 8 devices has an eighth."""
    found = measured("levels", "few windows", "states")
    holds(found["levels"])
    holds(found["few windows"])
    for name, (whole, part) in found["states"].items():
        assert whole / 8 <= part < 1.05 * whole / 8, name


@pytest.mark.slow
def test_every_layer_gathers_parameters_and_never_clips():
    found = measured(*LAYERS)
    for name in LAYERS:
        holds(found[name])


def holds(found: dict) -> None:
    assert found["apart"] < 1e-4, found
    assert found["split"] > 0, found
    assert 0 < found["gathered"] < found["clip"] / 4, found


@pytest.mark.slow
@pytest.mark.parametrize(("family", "share"), [("vidtok", 1 / 6.5), ("omnitokenizer", 1 / 5.5)])
def test_memory_of_a_training_step_falls_with_the_devices(family, share):
    """fsdp splits the state, context the activations; with fsdp each device has a clip, as the one device has."""
    found = measured(family)[family]
    one, fsdp, context = found["one"], found["fsdp"], found["context"]
    assert fsdp["arguments"] < one["arguments"] * 0.3  # these models are small, and small arrays stay whole
    assert fsdp["temporaries"] < 1.1 * one["temporaries"]
    assert context["temporaries"] < one["temporaries"] * share
    assert context["gathered"] < one["temporaries"] / 100
