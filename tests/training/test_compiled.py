"""What is read from compiled programs, against programs whose answer is known."""

import jax
import jax.numpy as jnp

from tokjax.training.compiled import messages, operations, planned_memory, sources


def test_memory_counts_what_goes_in_comes_out_and_lives_between():
    def step(state, x):
        return state + 1, jnp.sum(jnp.sort(x * 2))

    shapes = jax.ShapeDtypeStruct((1000,), jnp.float32), jax.ShapeDtypeStruct((500,), jnp.bfloat16)
    memory = planned_memory(jax.jit(step, donate_argnums=0).lower(*shapes).compile())
    assert memory.arguments == 4 * 1000 + 2 * 500
    assert 2 <= memory.results < 64  # the sum and a table of the results; the state is overwritten
    assert memory.temporaries >= 2 * 500
    assert memory.total == memory.arguments + memory.results + memory.temporaries


def test_operations_have_the_bytes_of_their_arrays_and_a_source():
    compiled = jax.jit(jnp.matmul).lower(*[jax.ShapeDtypeStruct((8, 8), jnp.float32)] * 2).compile()
    (product,) = (
        one for one in operations(compiled) if one.arrays == ("f32[8,8]",) and one.opcode not in ("parameter", "fusion")
    )
    assert product.bytes == 8 * 8 * 4 and product.source.endswith("dot_general")
    assert sources(compiled)[product.name] == product.source
    assert messages(compiled, "all-gather") == []
