"""Layers and training steps compiled for 8 fake devices; prints, as JSON, what test_compiled_on_devices.py asserts.

`on_eight_devices_compiled.py CASE...`, names of LAYERS, families of MODELS, or "states".
"""

import json
import math
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tokjax.config import defaults
from tokjax.experiment import load_experiment
from tokjax.models import attention, token_layers, vidtok_levels
from tokjax.models.layers import Style
from tokjax.models.mesh import batch_sharding, laid_on, make_mesh
from tokjax.models.tokenizer import build
from tokjax.models.transformer import Stack
from tokjax.training.compiled import messages, planned_memory
from tokjax.training.sharding import parameter_sharding
from tokjax.training.workloads import Clips, make_workload

HEAD_BY_HEAD_FROM = attention.HEAD_BY_HEAD_FROM
_STYLE = token_layers.Style(heads=4, head_width=16, window=4, mode="sound")
_FEW_WINDOWS = token_layers.Style(heads=4, head_width=16, window=16, mode="sound")
_PUBLISHED = token_layers.Style(heads=4, head_width=16, position="relative", explicit=True)
LAYERS = {
    "levels": (vidtok_levels.DecoderLevel(32, 1, True, True, "published", Style(), True), (2, 2, 64, 64, 32)),
    "space": (Stack("tw", _STYLE), (2, 3, 32, 32, 64)),
    "few windows": (Stack("w", _FEW_WINDOWS), (2, 3, 32, 32, 64)),
    "time": (Stack("t", _STYLE, along_time=True), (2, 3, 32, 32, 64)),
    "published space": (Stack("t", _PUBLISHED), (2, 3, 32, 32, 64)),
    "published time": (Stack("t", _PUBLISHED, along_time=True), (2, 3, 32, 32, 64)),
}
MODELS = {
    "vidtok": {"channels": 32, "channel_multipliers": (1, 2, 2), "blocks_per_level": 1},
    "omnitokenizer": {
        **{"width": 128, "heads": 8, "head_width": 16, "patch": 4, "window": 4, "time_factor": 2, "mode": "sound"},
        **{"encoder_blocks": "tw", "decoder_blocks": "tt", "temporal_depth": 1},
    },
}


def mesh_of(fsdp: int, context: int) -> jax.sharding.Mesh:
    return make_mesh({"data": 1, "fsdp": fsdp, "context": context}, jax.devices()[: fsdp * context])


def gathered(compiled: jax.stages.Compiled) -> int:
    """Bytes of the largest array that an all-gather makes."""
    return max((one.bytes for one in messages(compiled, "all-gather")), default=0)


def layer(name: str) -> dict:
    """Value and gradients on fsdp=2, context=4 and on one device: how far apart, relative to their size?"""
    module, shape = LAYERS[name]
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.1, leaf.shape), jnp.float32), shapes)

    def value(params: dict, x: jax.Array) -> jax.Array:
        return jnp.mean(jnp.square(module.apply(params, x)))

    results = []
    for mesh in (mesh_of(1, 1), mesh_of(2, 4)):
        places = parameter_sharding(params, mesh)
        step = jax.jit(laid_on(mesh, jax.value_and_grad(value)), out_shardings=(None, places))
        inputs = jax.device_put(params, places), jax.device_put(x, batch_sharding(mesh))
        compiled = step.lower(*inputs).compile()
        results.append(jax.device_get(compiled(*inputs)))
    least = 1e-3 * max(np.abs(leaf).max() for leaf in jax.tree.leaves(results[0]))  # what should be 0 is rounding alone
    apart = jax.tree.map(lambda a, b: float(np.abs(a - b).max() / max(np.abs(a).max(), least)), *results)
    split = sum(not place.is_fully_replicated for place in jax.tree.leaves(places))
    return {"apart": max(jax.tree.leaves(apart)), "gathered": gathered(compiled), "clip": x.nbytes // len(x), "split": split}


def model(family: str) -> dict:
    """A training step with each mesh: bytes on one device. Clips are as many as devices of fsdp."""
    config = defaults(family)
    config.model.update(MODELS[family] | {"remat": True})
    found = {}
    for name, (fsdp, context) in {"one": (1, 1), "fsdp": (8, 1), "context": (1, 8)}.items():
        mesh = mesh_of(fsdp, context)
        # A single CPU would take the heads of attention one by one, which no other device does.
        attention.HEAD_BY_HEAD_FROM = math.inf if mesh.size == 1 else HEAD_BY_HEAD_FROM
        work = make_workload("train", build(config.model), None, Clips(fsdp, 5, 128), config, mesh)
        compiled = jax.jit(work.function, out_shardings=work.out_shardings, donate_argnums=0).lower(*work.shapes).compile()
        memory = planned_memory(compiled)
        found[name] = {"arguments": memory.arguments, "temporaries": memory.temporaries, "gathered": gathered(compiled)}
    return found


def states() -> dict:
    """Of published models with their optimizers and discriminators: bytes in all, and on one of 8 devices of fsdp."""
    found = {}
    for row in ("vidtok.py:kl_causal_488_4chn", "omnitokenizer.py:joint_vq"):
        config = load_experiment(str(Path(__file__).parents[2] / "experiments" / row))
        work = make_workload("train", build(config.model), None, Clips(8, 17, 256), config, mesh_of(8, 1))
        leaves = jax.tree.leaves(work.shapes[0][0])
        part = sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves)
        found[row] = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves), part
    return found


if __name__ == "__main__":
    assert jax.device_count() == 8
    names = sys.argv[1:]
    measures = {name: partial(layer, name) for name in LAYERS} | {name: partial(model, name) for name in MODELS}
    measures["states"] = states
    print(json.dumps({name: measures[name]() for name in names}))
