"""Memory and time of the entropy loss of FSQ and LFQ: factorised, as tokjax computes it, and direct.

The direct form holds the probability of every code at every position, [tokens, codes]; the factorised one holds two halves of the
codebook, [tokens, sqrt(codes)]. Both give the loss (entropy of a position's code minus entropy of the mean code) and its gradient
with respect to the encoder's output.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from tokjax.quantizers.entropy import INVERSE_TEMPERATURE, SMALLEST_PROBABILITY, code_entropies

VALUES = {"fsq": np.arange(-4, 4, dtype=np.float32) / 4, "lfq": np.array([-1, 1], np.float32)}

Loss = Callable[[jax.Array], jax.Array]


def factorised(values: Sequence[np.ndarray]) -> Loss:
    def loss(u: jax.Array) -> jax.Array:
        per_position, of_mean = code_entropies(u, values)
        return per_position - of_mean

    return loss


def direct(values: Sequence[np.ndarray]) -> Loss:
    """The definition, as the published code computes it."""
    codebook = jnp.stack(jnp.meshgrid(*map(jnp.asarray, values), indexing="ij"), axis=-1).reshape(-1, len(values))

    def entropy(p: jax.Array) -> jax.Array:
        return -jnp.sum(p * jnp.log(jnp.maximum(p, SMALLEST_PROBABILITY)), axis=-1)

    def loss(u: jax.Array) -> jax.Array:
        p = jax.nn.softmax(2 * INVERSE_TEMPERATURE * jnp.matmul(u, codebook.T, precision="highest"))
        return jnp.mean(entropy(p)) - entropy(jnp.mean(p, axis=0))

    return loss


def compiled(loss: Loss, u: jax.Array) -> tuple[jax.stages.Compiled, float]:
    """Loss and gradient, and their memory in GB: arguments, results, and everything in between."""
    program = jax.jit(jax.value_and_grad(loss)).lower(u).compile()
    memory = program.memory_analysis()
    total = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
    return program, total / 1e9


def seconds(programs: Sequence[jax.stages.Compiled], u: jax.Array, repeats: int) -> list[float]:
    """For each program the median of the repeats, after one that is not counted; they take turns."""
    times: list[list[float]] = [[] for _ in programs]
    for _ in range(repeats + 1):
        for program, own in zip(programs, times, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(program(u))
            own.append(time.perf_counter() - start)
    return [statistics.median(own[1:]) for own in times]


def row(grid: str, codes: int, tokens: int, repeats: int, largest: float) -> str:
    """One line of the table: both forms on the same normal input with a deviation of 0.3."""
    values = [VALUES[grid]] * round(np.log(codes) / np.log(len(VALUES[grid])))
    u = jnp.asarray(np.random.default_rng(0).normal(0, 0.3, (tokens, len(values))), jnp.float32)
    ours, our_memory = compiled(factorised(values), u)
    theirs, their_memory = compiled(direct(values), u)
    cells = [grid, f"{codes:,}", f"{tokens:,}", f"{our_memory:.3f}", f"{their_memory:.3f}"]
    if their_memory > largest:
        return " | ".join([*cells, f"{seconds([ours], u, repeats)[0]:.3f}", "not run", "", ""])
    cells += [f"{each:.3f}" for each in seconds([ours, theirs], u, repeats)]
    (loss, gradient), (their_loss, their_gradient) = ours(u), theirs(u)
    of_loss = abs(loss - their_loss) / abs(their_loss)
    of_gradient = jnp.linalg.norm(gradient - their_gradient) / jnp.linalg.norm(their_gradient)
    return " | ".join([*cells, f"{of_loss:.0e}", f"{of_gradient:.0e}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", nargs="+", choices=VALUES, default=list(VALUES), help="fsq: 8 values a channel; lfq: 2")
    parser.add_argument("--codes", nargs="+", type=int, default=[2**12, 2**15, 2**18], help="powers of 8 (fsq) or of 2 (lfq)")
    parser.add_argument("--tokens", nargs="+", type=int, default=[1024, 4096, 10240], help="positions in the batch")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs; the median is printed")
    parser.add_argument("--largest", type=float, default=5.0, help="GB above which the direct form is compiled but not run")
    given = parser.parse_args()
    head = (
        "grid",
        "codes",
        "tokens",
        "factorised GB",
        "direct GB",
        "factorised s",
        "direct s",
        "difference of loss",
        "of gradient",
    )
    load = os.getloadavg()[0]
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}, float32, load average before the start {load:.1f}\n")
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for grid in given.grids:
        for codes in given.codes:
            for tokens in given.tokens:
                print(f"| {row(grid, codes, tokens, given.repeats, given.largest)} |", flush=True)


if __name__ == "__main__":
    main()
