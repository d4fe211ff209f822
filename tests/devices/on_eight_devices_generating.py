"""Models of tokens on 8 fake devices and on one of them; prints, as JSON, what test_generators_on_devices.py asserts.

`on_eight_devices_generating.py WHAT...`: "MODEL/MESH" of MODELS and MESHES for training steps, or "sampling".
"""

import json
import sys
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from tiny_generators import config_of, keys, model_of
from tiny_tokenizer import tiny_tokenizer

from tokjax.generation.divisions import require_divisible
from tokjax.generation.families import build
from tokjax.generation.filters import Drawing
from tokjax.generation.generate import Request, clip_of, generate
from tokjax.generation.latent_sampling import Denoising, sample_latents
from tokjax.generation.package import TokenModel
from tokjax.generation.token_sampling import sample_codes
from tokjax.generation.validation import _judged
from tokjax.models.mesh import laid_on, make_mesh
from tokjax.models.tokenizer import Encoded
from tokjax.training.compiled import messages
from tokjax.training.generative import global_tokens
from tokjax.training.optimizers import make_optimizer
from tokjax.training.sharding import parameter_sharding, replicated
from tokjax.training.state import state_of
from tokjax.training.step import make_train_step

ONE = {"data": 1}
MESHES = {"data": {"data": 8}, "fsdp": {"fsdp": 8}, "tensor": {"data": 2, "tensor": 4}, "context": {"fsdp": 4, "context": 2}}
MESHES["all"] = {"fsdp": 2, "context": 2, "tensor": 2}
SIZES = {"width": 128, "heads": 8, "depth": 1, "classes": 3}
MODELS = {
    "language": ("language_model", {"grid": (1, 8, 8), "codes": 256}),
    "published": ("language_model", {"grid": (1, 8, 8), "codes": 252, "mode": "published", "block": "published"}),
    "dit": ("diffusion", {"grid": (1, 8, 8), "patch": 1, "temporal": False}),
    "latte": ("diffusion", {"grid": (3, 8, 8), "patch": 1, "depth": 2}),
}
STEPS, BATCH = 2, 8


def mesh_of(sizes: dict) -> jax.sharding.Mesh:
    return make_mesh(sizes, jax.devices()[: int(np.prod(list(sizes.values())))])


def batch_of(config: dict, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng, shape = np.random.default_rng(seed), (BATCH, *config.model.grid)
    if config.model.family == "language_model":
        return rng.integers(0, config.model.codes, shape).astype(np.int32), rng.integers(0, 3, BATCH)
    return rng.normal(size=(*shape, config.model.channels)).astype(np.float32), rng.integers(0, 3, BATCH)


def trained(name: str, sizes: dict) -> SimpleNamespace:
    """Losses of some steps and of validation, parameters and how they changed, the places of these and the program of a step."""
    family, changes = MODELS[name]
    config, mesh = config_of(family, **SIZES | changes), mesh_of(sizes)
    config.optimizer.update({"learning_rate": 1e-2, "eps": 1e-3})  # Adam would make steps of what is rounding alone
    model, optimizer = build(config.model), make_optimizer(config.optimizer, 10)
    require_divisible(model, mesh)
    shapes, rng = jax.eval_shape(partial(state_of, model, optimizer, config)), np.random.default_rng(0)
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    begin = jax.tree.map(lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(np.float32), state.params)  # all have an effect
    places = parameter_sharding(state, mesh)
    state = jax.device_put(state.replace(params=begin), places)
    step = laid_on(mesh, make_train_step(model, optimizer, config))
    batches = [global_tokens(mesh, *batch_of(config, seed)) for seed in range(STEPS)]
    compiled = jax.jit(step, out_shardings=(places, replicated(mesh))).lower(state, batches[0]).compile()
    losses = []
    for batch in batches:
        state, metrics = compiled(state, batch)
        losses.append(float(metrics["loss"]))
    terms, _ = _judged(model, None, mesh, state.variables, None, *batches[0].values(), jax.random.key(0))
    params = jax.device_get(state.params)
    return SimpleNamespace(
        losses=[*losses, float(terms["loss"])], params=params, moved=apart(params, begin), places=places.params, step=compiled
    )


def apart(params: dict, others: dict) -> float:
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: float(np.abs(a - b).max()), params, others)))


def compared(name: str, meshes: list[str]) -> dict:
    """How far each mesh is from one device, and the largest arrays that are brought together."""
    one, found = trained(name, ONE), {}
    for mesh in meshes:
        other = trained(name, MESHES[mesh])
        split = [str(place.spec) for place in jax.tree.leaves(other.places)]
        found[mesh] = {
            "loss": float(np.abs(np.divide(other.losses, one.losses) - 1).max()),
            "parameter": apart(one.params, other.params),
            "moved": one.moved,
            "gathered": [[message.bytes, *message.arrays, message.source] for message in messages(other.step, "all-gather")[:3]],
            **{axis: sum(axis in spec for spec in split) for axis in ("fsdp", "tensor")},
        }
    return found


def sampling() -> dict:
    """Codes and latents drawn by a model that lies on a mesh, against those of one device; and pixels on all devices."""
    labels, own = jnp.arange(8) % 3, keys(8)
    language, codes_of = model_of("language_model", **SIZES | {"grid": (1, 8, 8), "codes": 20})
    diffusion, latents_of = model_of("diffusion", **SIZES | {"depth": 2})
    latents_of = jax.tree.map(lambda leaf: leaf / 4, latents_of)  # else they grow without bounds
    draw = partial(sample_codes, language, how=Drawing(top_k=10, guidance=0.5))
    denoise = partial(sample_latents, diffusion, how=Denoising(steps="2", guidance=2.0))
    codes, latents = draw(codes_of, labels, own), denoise(latents_of, labels, own)
    found = {"different": len({row.tobytes() for row in np.asarray(codes)})}
    for name in ("data", "tensor"):
        mesh = mesh_of(MESHES[name])
        place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
        laid = jax.device_put((labels, own), place)
        weights = [jax.device_put(one, parameter_sharding(one, mesh)) for one in (codes_of, latents_of)]
        mine, theirs = draw(weights[0], *laid), denoise(weights[1], *laid)
        found[name] = {"codes": float((np.asarray(mine) == np.asarray(codes)).mean()), "devices": len(mine.sharding.device_set)}
        found[name]["latents"] = float(np.abs(np.asarray(theirs) - np.asarray(latents)).max() / np.abs(latents).max())
    model = TokenModel(language, codes_of, config_of("language_model", **SIZES, grid=(1, 8, 8)), 0, "")
    tokenizer, how = tiny_tokenizer("fsq"), Drawing(greedy=True)
    pictures = list(generate(model, tokenizer, Request([0, 1, 2], 0, 8, how)))
    alone = np.asarray(sample_codes(language, codes_of, jnp.arange(3), keys(3), how)).reshape(3, 1, 8, 8)
    latents, shape = tokenizer.latents(alone), clip_of(tokenizer, (1, 8, 8))
    expected = tokenizer.decode(Encoded(latents, None, shape, np.dtype(np.uint8)))
    found["pictures"] = [np.array_equal(one, other) for one, other in zip(pictures, expected, strict=True)]
    return found


if __name__ == "__main__":
    assert jax.device_count() == 8
    found: dict = {}
    for what in sys.argv[1:]:
        model, _, meshes = what.partition("/")
        found[what] = compared(model, meshes.split(",")) if meshes else sampling()
    print(json.dumps(found))
