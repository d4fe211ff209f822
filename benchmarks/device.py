"""`tokjax benchmark` for a machine that has jax, flax, optax and einops, and nothing else that tokjax reads or writes with.

    python benchmarks/device.py --batch 1,2,4,8 --json device.json
    python benchmarks/device.py --what train --set remat=True --set latent_channels=8

The model is the family's default (VidTok, KL, 4x8x8) with the values of --set, which are keys of `config.model`. Weights are
random.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import jax

sys.path.insert(0, str(Path(__file__).parents[1]))  # the checkout this file is in, which need not be installed

from tokjax.defaults import MODELS, RUN
from tokjax.models.tokenizer import build
from tokjax.training.hardware import known_peak
from tokjax.training.sharding import make_mesh
from tokjax.training.throughput_report import record, sweep, table
from tokjax.training.workloads import WORKS, Clips


class Section(dict):
    """A section of a config: a dict whose keys are attributes too, as the training step reads them."""

    __getattr__ = dict.__getitem__


def section(values: Any) -> Any:
    return Section({key: section(value) for key, value in values.items()}) if isinstance(values, dict) else values


def make_config(family: str, changes: list[str], dtype: str) -> Section:
    """The defaults of a family with `key=value` changes of its model."""
    model = copy.deepcopy(MODELS[family]) | {"dtype": dtype}
    for change in changes:
        name, _, text = change.partition("=")
        *path, key = name.split(".")
        node = model
        for part in path:
            node = node[part]
        if key not in node:
            sys.exit(f"device.py: unknown key {name!r} in --set; there are: {', '.join(node)}")
        node[key] = text if isinstance(node[key], str) else ast.literal_eval(text)
    return section({"name": family, "seed": 0, "model": model} | copy.deepcopy(RUN))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="vidtok", choices=MODELS)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a value of config.model")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", default="1", metavar="N[,N...]")
    parser.add_argument("--what", default=",".join(WORKS), metavar="WORK[,WORK...]", help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--peak-tflops", type=float, help="of one device; default: from a table of known devices")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    config = make_config(args.family, args.set, args.dtype)
    mesh = make_mesh(config.mesh)
    clips = [Clips(int(batch), args.frames, args.size) for batch in args.batch.split(",")]
    peak = args.peak_tflops or known_peak(jax.devices()[0].device_kind)
    options = {"config": config, "mesh": mesh, "repeats": args.repeats, "peak_tflops": peak}
    found = []
    for one in sweep(build(config.model), None, clips, args.what.split(","), **options):
        found.append(one)
        print(f"done: {one.work}, batch {one.batch}, {one.frames_per_second} frames/s", file=sys.stderr, flush=True)
    result = record(" ".join([args.family, *args.set]), args.dtype, peak, found, shlex.join(["python", *sys.argv]))
    print(table(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
