"""Examples:
  tokjax inspect --config experiments/vidtok.py:kl_causal_488_4chn
  tokjax inspect --config experiments/vidtok.py:fsq_causal_488_32768 --frames 17 --resolution 128 --batch 4

Everything follows from shapes: nothing is allocated, and no accelerator is needed. FLOPs are 2 per multiply-accumulate.
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, metavar="FILE[:VARIANT]", help="an experiment file, and a row of it")
    parser.add_argument("--config.KEY", dest="_", metavar="VALUE", help="overrides one value, e.g. --config.model.remat=true")
    parser.add_argument("--frames", type=int, help="length of the clip; default: the longest the config trains on")
    parser.add_argument("--resolution", type=int, help="height and width of the clip; default: the largest the config trains on")
    parser.add_argument("--batch", type=int, default=1, help="clips on one device, for the memory estimate; default 1")
    parser.set_defaults(overrides=[])


def run(args: argparse.Namespace) -> int:
    from tokjax.config import ConfigError, validate
    from tokjax.experiment import apply_overrides, load_experiment
    from tokjax.training.inspection import inspect

    config = load_experiment(args.config)
    apply_overrides(config, args.overrides)
    validate(config)
    streams = config.data.train.values()
    frames = max((stream.frames for stream in streams), default=17) if args.frames is None else args.frames
    side = max((stream.resolution for stream in streams), default=256) if args.resolution is None else args.resolution
    if min(frames, side, args.batch) < 1:
        raise ConfigError("--frames, --resolution and --batch must be at least 1")
    for name, value in inspect(config, args.batch, frames, side).items():
        print(f"{name:<40}{value}")
    return 0
