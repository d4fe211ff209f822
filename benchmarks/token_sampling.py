"""Drawing the codes of an image with remembered keys and values, against computing everything anew for each code.

    python benchmarks/token_sampling.py --json token_sampling.json
    python benchmarks/token_sampling.py --side 16 --width 256 --depth 6

Random weights of the sound language model, codes chosen greedily, both under jit. Anew, a forward pass over the whole sequence is
made for every code; as it takes long, `--anew` codes are timed after one call that does not count, and the seconds of a code are
multiplied. Both must choose the same codes.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from tokjax.defaults import LANGUAGE_MODEL
from tokjax.generation.filters import Drawing
from tokjax.generation.language_model import LanguageModel
from tokjax.generation.token_sampling import sample_codes
from tokjax.training.hardware import environment


def seconds_of(call: Callable[[], jax.Array]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=32, help="of the grid of codes; default 32, 1,024 codes")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--anew", type=int, default=8, help="codes that are timed when all is computed anew; default 8")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    sizes = {"grid": (1, args.side, args.side), "width": args.width, "depth": args.depth, "heads": args.width // 32}
    model = LanguageModel.from_config(LANGUAGE_MODEL | sizes | {"codes": 1024})
    variables = jax.jit(model.init)(jax.random.key(0), model.example())
    label, key = jnp.array([-1]), jax.random.split(jax.random.key(0), 1)

    def remembering() -> jax.Array:
        return sample_codes(model, variables, label, key, Drawing(greedy=True))

    codes = remembering()
    forward = jax.jit(lambda ids: model.apply(variables, ids, label, method="logits")[0])
    again = jnp.argmax(forward(codes + model.first_code), axis=-1)  # of each code, from those before it
    with_memory = min(seconds_of(remembering) for _ in range(args.repeats))
    of_a_code = min(seconds_of(lambda: forward(codes + model.first_code)) for _ in range(args.anew))
    anew, equal = of_a_code * model.tokens, int((codes == again).sum())
    print(f"{model.tokens:,} codes: {with_memory:.2f} s with memory, {anew:.2f} s anew, {anew / with_memory:.1f} times as long")
    print(f"{equal:,} of {model.tokens:,} codes are the same")
    if args.json:
        found = {"seconds_with_memory": with_memory, "seconds_anew": anew, "tokens": model.tokens, "equal": equal}
        about = {name: value for name, value in vars(args).items() if name != "json"}
        about |= {"command": shlex.join(["python", *sys.argv])} | environment()
        args.json.write_text(json.dumps(about | found, indent=2) + "\n")


if __name__ == "__main__":
    main()
