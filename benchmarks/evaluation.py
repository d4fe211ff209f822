"""What evaluation costs: PSNR, SSIM and LPIPS on top of reconstruction, and the Fréchet distance of 2048 features.

    python benchmarks/evaluation.py --config experiments/vidtok.py:kl_causal_488_4chn --frames 17 --size 64 --repeats 5

Weights are random, clips are noise on the host, as decoding leaves them. Reconstruction alone and with its scores take turns in
one process; each turn ends when the last number is on the host. Numbers are medians after a turn that does not count.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np

from tokjax.evaluation.evaluator import evaluate
from tokjax.evaluation.frechet import Moments, frechet_distance
from tokjax.evaluation.judge import Judge
from tokjax.experiment import load_experiment
from tokjax.losses.perceptual import shapes
from tokjax.models.tokenizer import build
from tokjax.models.values import to_float


def random_weights(network: str) -> Any:
    """Of LPIPS, as a file's would be."""
    rng = np.random.default_rng(0)
    params = {}
    for layer, leaves in shapes(network).items():
        params[layer] = {}
        for name, shape in leaves.items():
            spread = (2 / np.prod(shape[:-1])) ** 0.5 if len(shape) > 1 else 0.02
            params[layer][name] = np.abs(rng.normal(0, spread, shape)).astype(np.float32)
    return SimpleNamespace(network=network, about={"digest": "random", "sources": {}}, params=params)


def in_turns(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Medians in seconds."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def reconstruction(config: Any, batch: int, frames: int, size: int, repeats: int) -> None:
    model = build(config.model)
    clips = np.random.default_rng(0).integers(0, 256, (batch, frames, size, size, 3), np.uint8)
    variables = jax.jit(model.init)(jax.random.key(0), to_float(clips[:1]))
    forward = jax.jit(lambda variables, video: model.apply(variables, to_float(video))[0])
    judge = Judge(("psnr", "ssim", "lpips_vgg16"), {"vgg16": random_weights("vgg16")})
    batches = [([f"clip {i}" for i in range(batch)], clips, np.ones(batch, bool))]
    runs = {
        "reconstruct": lambda: jax.block_until_ready(forward(variables, clips)),
        "reconstruct and score": lambda: evaluate(
            lambda video: (forward(variables, video), None), {"clips": batches}, judge=judge
        ),
    }
    medians = in_turns(runs, repeats)
    for name, seconds in medians.items():
        print(f"{name}: {seconds:.3f} s, {batch * frames / seconds:.2f} frames/s")
    print(f"throughput with scores: {medians['reconstruct'] / medians['reconstruct and score']:.1%} of reconstruction alone")


def distance(dimensions: int, samples: int, repeats: int) -> None:
    rng = np.random.default_rng(0)
    sets = [Moments(), Moments()]
    for moments in sets:
        moments.add(rng.normal(size=(samples, dimensions)) @ rng.normal(size=(dimensions, dimensions)) / dimensions**0.5)
    seconds = in_turns({"distance": lambda: frechet_distance(*sets)}, repeats)["distance"]
    print(f"Fréchet distance, {dimensions} dimensions, {samples} samples: {seconds:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="experiments/vidtok.py:kl_causal_488_4chn")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dimensions", type=int, default=2048)
    given = parser.parse_args()
    device = jax.devices()[0].device_kind
    print(f"jax {jax.__version__} on {device}, {os.cpu_count()} cores, load average before the start {os.getloadavg()[0]:.1f}")
    config = load_experiment(given.config)
    config.model.dtype = "float32"
    print(f"{given.config}, float32, {given.batch} clips of {given.frames} x {given.size} x {given.size}")
    reconstruction(config, given.batch, given.frames, given.size, given.repeats)
    distance(given.dimensions, given.dimensions + 500, given.repeats)


if __name__ == "__main__":
    main()
