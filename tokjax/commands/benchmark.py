"""Examples:
  tokjax benchmark --config experiments/vidtok.py:kl_causal_488_4chn --batch 1,2,4,8 --json benchmark.json
  tokjax benchmark runs/quickstart --frames 17 --size 64 --what encode,decode

Synthetic clips; MODEL's weights, or random ones of a config. Numbers are medians over the repeats, after compilation and a
warm-up, over all devices. FLOPs are 2 per multiply-accumulate; MFU is their share of the devices' peak in bfloat16. A star marks
the batch with the most frames per second.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", type=Path, metavar="MODEL", help="a training workdir or an export")
    parser.add_argument("--config", metavar="FILE[:VARIANT]", help="instead of MODEL: an experiment file, and a row of it")
    parser.add_argument("--config.KEY", dest="_", metavar="VALUE", help="overrides one value, e.g. --config.model.remat=true")
    parser.add_argument("--frames", type=int, default=17, help="length of a clip; default 17")
    parser.add_argument("--size", type=int, default=256, help="height and width of a clip; default 256")
    parser.add_argument("--batch", metavar="N[,N...]", help="clips at a time, over all devices; default: one for each device")
    parser.add_argument(
        "--what", default="encode,decode,reconstruct,train", metavar="WORK[,WORK...]", help="default: %(default)s (one step)"
    )
    parser.add_argument("--repeats", type=int, default=10, help="timed calls of each; default 10")
    parser.add_argument("--dtype", metavar="TYPE", help="of the computation, float32 or bfloat16; default: the config's")
    parser.add_argument("--peak-tflops", type=float, metavar="X", help="of one device; default: from a table of known devices")
    parser.add_argument("--json", type=Path, metavar="OUT.json", help="also write all numbers, with versions and hardware")
    parser.set_defaults(overrides=[])


def run(args: argparse.Namespace) -> int:
    _check(args)
    batches, works = _batches(args.batch), list(dict.fromkeys(args.what.split(",")))
    name, config, variables = _model(args)

    import json

    from tokjax.training.throughput_report import table
    from tokjax.training.workdir import write_atomically

    result = _measure(name, config, variables, batches, works, args)
    print(table(result))
    if args.json:
        write_atomically(args.json, json.dumps(result, indent=2) + "\n")
        print(f"wrote {args.json}")
    return 0


def _check(args: argparse.Namespace) -> None:
    from tokjax.config import ConfigError

    if (args.model is None) == (args.config is None):
        raise ConfigError("tokjax benchmark measures one model: give either MODEL or --config FILE[:VARIANT]")
    if args.model and args.overrides:
        raise ConfigError(f"{args.overrides[0]} changes a --config, not the model that was trained in {args.model}")
    if args.peak_tflops is not None and args.peak_tflops <= 0:
        raise ConfigError(f"--peak-tflops must be positive, not {args.peak_tflops:g}")
    if args.json and not args.json.parent.is_dir():
        raise ConfigError(f"cannot write {args.json}: there is no folder {args.json.parent}")


def _batches(text: str | None) -> list[int]:
    from tokjax.config import ConfigError

    try:
        return sorted({int(word) for word in text.split(",")}) if text else []
    except ValueError:
        raise ConfigError(f"--batch wants whole numbers with commas between them, such as 1,2,4, not {text!r}") from None


def _model(args: argparse.Namespace) -> tuple[str, Any, Any]:
    """(name, config, variables); no variables where only a config was given."""
    from tokjax.config import validate
    from tokjax.experiment import apply_overrides, load_experiment

    if args.config:
        name, config, variables = args.config, load_experiment(args.config), None
        apply_overrides(config, args.overrides)
    else:
        from tokjax.conversion.package import load

        tokenizer = load(args.model)
        name, config, variables = str(args.model), tokenizer.config, tokenizer.variables
    if args.dtype:
        config.model.dtype = args.dtype
    validate(config)
    return name, config, variables


def _measure(name: str, config: Any, variables: Any, batches: list[int], works: list[str], args: argparse.Namespace) -> dict:
    import shlex
    import sys

    import jax
    from tqdm import tqdm

    from tokjax.models.tokenizer import build
    from tokjax.training.hardware import known_peak
    from tokjax.training.sharding import make_mesh
    from tokjax.training.throughput_report import record, sweep
    from tokjax.training.workloads import Clips

    mesh = make_mesh(config.mesh)
    batches = batches or [mesh.shape["data"] * mesh.shape["fsdp"]]
    clips = [Clips(batch, args.frames, args.size) for batch in batches]
    peak = known_peak(jax.devices()[0].device_kind) if args.peak_tflops is None else args.peak_tflops
    options = {"config": config, "mesh": mesh, "repeats": args.repeats, "peak_tflops": peak}
    found = []
    with tqdm(total=len(clips) * len(works), unit=" rows", desc="benchmark", disable=None) as bar:
        for one in sweep(build(config.model), variables, clips, works, **options):
            found.append(one)
            bar.update()
            bar.set_postfix_str(f"{one.work}, batch {one.batch} done")
    return record(name, config.model.dtype, peak, found, shlex.join(["tokjax", *sys.argv[1:]]))
