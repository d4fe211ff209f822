"""What a whole training step costs beside its parts: tokenizer, discriminator and LPIPS, each run forth and back alone.

    python benchmarks/gan_step.py --json gan_step.json
    python benchmarks/gan_step.py --channels 64 --frames 5 --size 64 --repeats 11

The step is VidTok's: L1, LPIPS (VGG16, random weights), a discriminator of frames with the adaptive weight and LeCAM, and both
updates. Its parts are a step of the tokenizer with L1 alone; the discriminator on originals and reconstructions, back to its
weights and back to the pixels; and LPIPS, back to the pixels. The naive form differentiates each loss through the whole model by
itself and adds the gradients up. All take turns in one process; a number is the median of the repeats.
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
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

sys.path.insert(0, str(Path(__file__).parents[1]))  # the checkout this file is in, which need not be installed

from tokjax.defaults import defaults
from tokjax.losses import objective
from tokjax.losses.adversarial import adaptive_weight
from tokjax.models.tokenizer import build
from tokjax.training.adversary import make_adversary
from tokjax.training.hardware import environment
from tokjax.training.optimizers import make_optimizer
from tokjax.training.state import TrainState, state_of
from tokjax.training.step import make_train_step
from tokjax.training.workloads import random_weights

PARTS = ("tokenizer", "discriminator", "LPIPS")


def settings(channels: int, judged: bool) -> Any:
    """VidTok's recipe, or its tokenizer alone."""
    config = defaults()
    config.model.channels = channels
    if judged:
        config.loss.update({"perceptual_weight": 1.0, "adversarial": "hinge_cross_entropy", "adversarial_weight": 0.2})
        config.loss.update({"adaptive": True, "lecam_weight": 0.005})
        config.discriminator.kind = "vidtok_2d"
    return config


def train_step(config: Any) -> tuple[TrainState, Callable]:
    model, optimizer = build(config.model), make_optimizer(config.optimizer, 1000)
    return jax.jit(lambda: state_of(model, optimizer, config))(), jax.jit(make_train_step(model, optimizer, config))


def discriminator(config: Any, state: TrainState) -> Callable:
    """(originals, reconstructions) -> gradients of its weights, and of reconstructions."""
    adversary, own = make_adversary(config), state.discriminator

    def look(judges: Any, video: jax.Array) -> Any:
        return adversary.look(judges, own.batch_stats, video, None, jax.random.key(0))[0][0]

    def learns(judges: Any, video: jax.Array, fake: jax.Array) -> jax.Array:
        return objective.discriminators_loss(config.loss, look(judges, video), look(judges, fake), own.averages)[0]

    def heard(fake: jax.Array) -> jax.Array:
        return objective.adversarial_loss(config.loss, look(own.params, fake))[0]

    return jax.jit(lambda video, fake: (jax.grad(learns)(own.params, video, fake), jax.grad(heard)(fake)))


def perceptual() -> Callable:
    """(reconstructions, originals, weights) -> gradient of reconstructions."""
    alone = defaults().loss
    alone.update({"reconstruction_weight": 0.0, "perceptual_weight": 1.0})
    return jax.jit(jax.grad(lambda fake, video, weights: objective.distance(alone, video, fake, weights)[0]))


def naive(config: Any, state: TrainState) -> Callable:
    """The same step with each loss differentiated through the whole model; updates as there."""
    model, optimizer, adversary = build(config.model), make_optimizer(config.optimizer, 1000), make_adversary(config)
    key = jax.random.key(0)

    def look(judges: Any, video: jax.Array) -> Any:
        return adversary.look(judges, state.discriminator.batch_stats, video, None, key)[0][0]

    def run(params: Any, video: jax.Array) -> Any:
        return model.apply({"params": params}, video, rng=key, train=True)

    def step(state: TrainState, video: jax.Array, weights: Any) -> Any:
        far = jax.grad(lambda p: objective.distance(config.loss, video, run(p, video)[0], weights)[0])(state.params)
        judges = state.discriminator.params
        heard = jax.grad(lambda p: objective.adversarial_loss(config.loss, look(judges, run(p, video)[0]))[0])(state.params)
        regular = jax.grad(lambda p: run(p, video)[1].losses["regularization"])(state.params)
        last = [tree["decoder"]["conv_out"]["kernel"] for tree in (far, heard)]
        weight = config.loss.adversarial_weight * adaptive_weight(*last)
        whole = jax.tree.map(lambda a, b, c: a + weight * b + config.loss.regularization_weight * c, far, heard, regular)
        updates, moments = optimizer.update(whole, state.optimizer, state.params)
        fake = jax.lax.stop_gradient(run(state.params, video)[0])
        own = state.discriminator

        def learns(judges: Any) -> jax.Array:
            return objective.discriminators_loss(config.loss, look(judges, video), look(judges, fake), own.averages)[0]

        theirs, their_moments = adversary.optimizer.update(jax.grad(learns)(judges), own.optimizer, judges)
        return optax.apply_updates(state.params, updates), moments, optax.apply_updates(judges, theirs), their_moments

    return jax.jit(step)


def medians(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each call, in turns, after one that is not counted."""
    for call in calls.values():
        jax.block_until_ready(call())
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=32, help="width of the tokenizer; 128 is the published one")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--frames", type=int, default=5, help="1 more than a multiple of 4")
    parser.add_argument("--size", type=int, default=64, help="height and width, a multiple of 8, at least 32")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    load, shape = os.getloadavg()[0], (args.batch, args.frames, args.size, args.size, 3)
    video, fake = (jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, shape), jnp.float32) for seed in (0, 1))
    config, weights = settings(args.channels, judged=True), random_weights("vgg16")
    (state, full), (lone_state, alone) = train_step(config), train_step(settings(args.channels, judged=False))
    judge, distance, naively = discriminator(config, state), perceptual(), naive(config, state)
    calls = {
        "step": lambda: full(state, video, weights),
        "tokenizer": lambda: alone(lone_state, video),
        "discriminator": lambda: judge(video, fake),
        "LPIPS": lambda: distance(fake, video, weights),
        "naive step": lambda: naively(state, video, weights),
    }
    seconds = medians(calls, args.repeats)
    middle = {name: statistics.median(own) for name, own in seconds.items()}
    parts = sum(middle[name] for name in PARTS)
    print(f"| | median ms | fastest | slowest | share of the parts' sum |\n|{'---|' * 5}")
    for name, own in seconds.items():
        cells = [f"{value * 1e3:.0f}" for value in (middle[name], min(own), max(own))]
        print(f"| {name} | {' | '.join(cells)} | {middle[name] / parts:.3f} |")
    ratios = {"step / sum of its parts": middle["step"] / parts, "naive step / step": middle["naive step"] / middle["step"]}
    print("\n" + "; ".join(f"{name}: {ratio:.3f}" for name, ratio in ratios.items()))
    if args.json:
        given = {name: value for name, value in vars(args).items() if name != "json"} | {"load_average_before": load}
        about = given | {"command": shlex.join(["python", *sys.argv])} | environment(())
        args.json.write_text(json.dumps(about | {"seconds": seconds, "ratios": ratios}, indent=2) + "\n")


if __name__ == "__main__":
    main()
