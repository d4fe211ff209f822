"""Runs with 8 fake devices and prints, as JSON, how far sharded results lie from those of one device."""

import json
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from tokjax.quantizers import VQ, codebook
from tokjax.quantizers.entropy import code_entropies
from tokjax.quantizers.usage import batch_statistics


def moves_vectors(function: Callable, rows: NamedSharding, width: int) -> bool:
    """Whether vectors [1024, width] that are spread over the devices leave them."""
    vectors = jax.ShapeDtypeStruct((1024, width), jnp.float32, sharding=rows)
    program = jax.jit(function).lower(vectors).compile().as_text()
    return any(name in program for name in ("all-gather(", "all-to-all(", "collective-permute("))


def learn(z: jax.Array) -> codebook.CodebookState:
    state = codebook.start(jnp.ones((256, 8)))
    return codebook.ema_update(state, z, codebook.nearest_codes(z, state.embeddings), 0.9)


def entropy_gradient(u: jax.Array) -> jax.Array:
    return jax.grad(lambda u: sum(code_entropies(u, [np.array([-1, 1], np.float32)] * 6)))(u)


if __name__ == "__main__":
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = NamedSharding(mesh, PartitionSpec("data"))
    module = VQ(16, ema_decay=0.9, data_init=True, restart_threshold=0.95)
    z = jax.random.normal(jax.random.key(0), (16, 1, 4, 4, 3))
    variables = module.init(jax.random.key(1), z)

    @jax.jit
    def train(z: jax.Array) -> tuple:
        result, changed = module.apply(variables, z, jax.random.key(2), True, mutable=["codebook"])
        return result, changed, batch_statistics(result.indices, 16), batch_statistics(result.indices, 2**20)

    sharded, single = train(jax.device_put(z, rows)), train(z)
    assert len(sharded[0].latents.sharding.device_set) == 8
    difference = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(np.asarray(a, np.float64) - np.asarray(b)))), sharded, single)
    names = [
        "/".join(str(getattr(k, "key", getattr(k, "name", k))) for k in path) for path, _ in jax.tree.leaves_with_path(difference)
    ]
    codebook.DISTANCES_AT_ONCE = 2**14  # several turns
    moved = {function.__name__: moves_vectors(function, rows, width) for function, width in ((learn, 8), (entropy_gradient, 6))}
    print(json.dumps(moved))
    print(json.dumps(dict(zip(names, jax.tree.leaves(difference), strict=True))))
