"""Runs with 8 fake devices and prints, as JSON, the metrics of two steps on one device and on meshes of all."""

import json

import jax
import numpy as np
from tiny_experiment import get_config

from tokjax.training.program import Program
from tokjax.training.sharding import global_batch, make_mesh
from tokjax.training.stages import stages_of

MESHES = {"one": ({"data": 1, "fsdp": 1, "context": 1}, 1), "batch": ({"data": 4, "fsdp": 2, "context": 1}, 8)}
MESHES["height"] = ({"data": 2, "fsdp": 1, "context": 4}, 8)


def metrics(name: str) -> list[dict[str, float]]:
    """Of two steps, both players in them."""
    sizes, count = MESHES[name]
    mesh = make_mesh(sizes, jax.devices()[:count])
    config = get_config("judged")
    config.model.quantizer.update({"data_init": False, "restart_threshold": 0.0})
    config.discriminator.update({"kind": "omni", "noise": True})
    program = Program(stages_of(config)[0], mesh)
    state, found = program.initial_state(), []
    for seed in range(2):
        video = np.random.default_rng(seed).integers(0, 256, (8, 3, 16, 16, 3), np.uint8)
        state, told = program.step(state, global_batch(mesh, video), None)
        found.append({key: float(value) for key, value in told.items()})
    return found


print(json.dumps({name: metrics(name) for name in MESHES}))
