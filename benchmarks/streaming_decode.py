"""Decoding a long video in chunks against decoding it in one piece: seconds, ratio per frame, and how far the results differ.

    python benchmarks/streaming_decode.py --json streaming_decode.json
    python benchmarks/streaming_decode.py --causality causal_v1_1 --channels 64 --size 64

Random weights. The two take turns in one process; a number is the median over the repeats, after one call of each that does not
count. A ratio of 1.05 says that a frame decoded in chunks costs 5% more.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from tokjax.defaults import defaults
from tokjax.models.tokenizer import Tokenizer, build
from tokjax.training.hardware import environment


def random_tokenizer(causality: str, channels: int) -> Tokenizer:
    config = defaults()
    config.model.update({"causality": causality, "channels": channels})
    module = build(config.model)
    size = 2 * module.space_factor
    clip = jax.numpy.zeros((1, 2 * module.time_factor, size, size, 3))
    return Tokenizer(module, jax.jit(module.init)(jax.random.key(0), clip), config)


def seconds_of(call: Callable) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--causality", choices=("causal", "causal_v1_1"), default="causal")
    parser.add_argument("--channels", type=int, default=128, help="width of the model; default 128, the published one")
    parser.add_argument("--latents", type=int, default=17, help="latent frames, each of 4 frames; default 17")
    parser.add_argument("--size", type=int, default=64, help="height and width in pixels, a multiple of 8; default 64")
    parser.add_argument("--chunk", type=int, default=16, help="frames of a chunk; default 16")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.size % 8 or min(args.size, args.channels, args.latents, args.repeats) < 1:
        parser.error("--size is a multiple of 8, and --channels, --latents and --repeats are at least 1")
    load, tokenizer = os.getloadavg()[0], random_tokenizer(args.causality, args.channels)
    shape = (1, args.latents, args.size // 8, args.size // 8, tokenizer.module.latent_channels)
    latents = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    ways = {"one piece": None, f"chunks of {args.chunk}": args.chunk}
    results = [tokenizer.decode(latents, chunk_frames=chunk) for chunk in ways.values()]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.repeats):
        for name, chunk in ways.items():
            seconds[name].append(seconds_of(lambda chunk=chunk: tokenizer.decode(latents, chunk_frames=chunk)))
    whole, chunked = (statistics.median(one) for one in seconds.values())
    apart, frames = float(np.abs(results[0] - results[1]).max() / results[0].std()), results[0].shape[1]
    for name, one in zip(ways, (whole, chunked), strict=True):
        print(f"{name:<16}{1e3 * one / frames:>10.2f} ms a frame")
    print(f"ratio {chunked / whole:.3f}; results at most {apart:.1e} standard deviations apart")
    if args.json:
        given = {name: value for name, value in vars(args).items() if name != "json"} | {"load_average_before": load}
        found = {"seconds": seconds, "frames": frames, "ratio": chunked / whole, "difference": apart}
        about = given | {"command": shlex.join(["python", *sys.argv])} | environment()
        args.json.write_text(json.dumps(about | found, indent=2) + "\n")


if __name__ == "__main__":
    main()
