"""Examples:
  tokjax data inspect --config experiments/quickstart.py -o data.html
  tokjax data inspect shards/films --frames 17 --resolution 256 -o data.html
  tokjax data benchmark shards/films --frames 17 --resolution 256 --workers 1,2,4
  tokjax data benchmark --config experiments/vidtok.py:kl_causal_488_4chn --step-seconds 0.4

DATA is a folder of images or videos, a folder that `tokjax prepare` wrote, or a glob of shards; --config takes the streams of an
experiment. `inspect` counts records and shows some as the model will see them. `benchmark` reads training batches with each
number of worker processes and compares with a bare decoding loop over the same bytes in one thread; --step-seconds is what a
training step takes, as `tokjax benchmark` tells, and gives how many times over the loader keeps up with it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    inspect = kinds.add_parser("inspect", help="counts, shapes, and a contact sheet of decoded samples")
    benchmark = kinds.add_parser("benchmark", help="clips and megabytes per second for each number of workers")
    for kind in (inspect, benchmark):
        kind.add_argument("data", nargs="?", metavar="DATA", help="a folder or a glob of shards")
        kind.add_argument("--config", metavar="FILE[:VARIANT]", help="instead of DATA: an experiment file, and a row of it")
        kind.add_argument("--config.KEY", dest="_", metavar="VALUE", help="overrides one value of the config")
        kind.add_argument("--frames", type=int, default=17, help="of clips of DATA's videos; default: %(default)s")
        kind.add_argument("--resolution", type=int, default=256, help="height and width of clips of DATA; default: %(default)s")
        kind.set_defaults(overrides=[])
    inspect.add_argument("--samples", type=int, default=12, metavar="N", help="of each stream; default: %(default)s")
    inspect.add_argument("-o", "--output", type=Path, metavar="OUT.html", help="the contact sheet; default: only the numbers")
    benchmark.add_argument("--batch", type=int, default=8, metavar="N", help="clips of DATA at a time; default: %(default)s")
    benchmark.add_argument("--workers", default="1,2", metavar="N[,N...]", help="process counts; default: %(default)s")
    benchmark.add_argument("--batches", type=int, default=20, metavar="N", help="timed in a repeat; default: %(default)s")
    benchmark.add_argument("--repeats", type=int, default=5, metavar="N", help="turns; default: %(default)s")
    benchmark.add_argument("--step-seconds", type=float, metavar="S", help="that a training step takes")
    benchmark.add_argument("--json", type=Path, metavar="OUT.json", help="also write all numbers, with versions and hardware")


def run(args: argparse.Namespace) -> int:
    from tokjax.config import ConfigError

    if (args.data is None) == (args.config is None):
        raise ConfigError(f"tokjax data {args.what} reads one set of streams: give either DATA or --config FILE[:VARIANT]")
    return _inspect(args) if args.what == "inspect" else _benchmark(args)


def _inspect(args: argparse.Namespace) -> int:
    from tokjax.config import ConfigError
    from tokjax.data.folders import write_whole
    from tokjax.data.records import printable
    from tokjax.data.sheet import look, page
    from tokjax.data.sources import OpenOnce

    if args.samples < 1:
        raise ConfigError(f"--samples must be at least 1, not {args.samples}")
    open_with, looks = OpenOnce(), {}
    for split, streams in _streams(args, batch=1).items():
        for name, stream in streams.items():
            found = look(open_with(stream), stream, args.samples, training=split == "train")
            looks[f"{split} / {name}"] = found
            print(f"{split} / {name}")
            print("".join(f"  {key}: {value}\n" for key, value in found.facts.items()), end="")
            print("".join(f"  {printable(record)} cannot be used: {reason}\n" for record, reason in found.bad), end="")
    if args.output:
        write_whole(args.output, page(looks))
        print(f"wrote {args.output}")
    return 0


def _benchmark(args: argparse.Namespace) -> int:
    import json

    from tqdm import tqdm

    from tokjax.config import ConfigError
    from tokjax.data.folders import write_whole
    from tokjax.data.rates import measure

    try:
        workers = [int(word) for word in args.workers.split(",")]
    except ValueError:
        raise ConfigError(f"--workers wants whole numbers with commas between them, such as 1,2, not {args.workers!r}") from None
    if min(args.batches, args.repeats) < 1 or min(workers) < 0 or (args.step_seconds or 1) < 0:
        raise ConfigError("--batches and --repeats must be at least 1, and --workers and --step-seconds 0 or more")
    streams = {name: one for name, one in _streams(args, args.batch)["train"].items() if one["weight"] > 0}
    if not streams:
        raise ConfigError("config.data.train has no stream to draw from; add one with tokjax.config.stream")
    with tqdm(total=args.repeats * (1 + len(workers)), desc="benchmark", disable=None) as bar:
        rows = measure(streams, workers, batches=args.batches, repeats=args.repeats, progress=bar.update)
    if args.step_seconds:
        for row in rows[1:]:
            row["of_need"] = row["steps_per_second"] * args.step_seconds
    print(_table(rows))
    if args.json:
        write_whole(args.json, json.dumps({**_context(args), "rows": rows}, indent=2) + "\n")
        print(f"wrote {args.json}")
    return 0


_COLUMNS = {
    "clips_per_second": "clips/s",
    "megabytes_per_second": "MB/s",
    "of_bare": "of bare",
    "of_need": "of need",
    "first_batch_seconds": "first batch s",
    "first_batch_at_1000000_seconds": "at step 1,000,000 s",
}


def _table(rows: list[dict[str, Any]]) -> str:
    columns = {key: title for key, title in _COLUMNS.items() if any(key in row for row in rows)}
    lines = [["work", "workers", *columns.values()]]
    lines += [[row["work"], str(row["workers"]), *(f"{row[key]:.2f}" if key in row else "–" for key in columns)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], ["---"] * len(lines[0]), *lines[1:]])


def _context(args: argparse.Namespace) -> dict[str, Any]:
    import os
    import platform
    import shlex
    import sys
    from datetime import date
    from importlib.metadata import version

    versions = {name: version(name) for name in ("grain", "av", "pillow", "numpy", "array_record")}
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()}
    command = shlex.join(["tokjax", *sys.argv[1:]])
    return {"command": command, "date": str(date.today()), "python": platform.python_version(), **machine, "versions": versions}


def _streams(args: argparse.Namespace, batch: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Plain streams by split and name."""
    from tokjax.config import stream, validate
    from tokjax.experiment import apply_overrides, load_experiment
    from tokjax.stream_checks import check_stream

    if args.config:
        config = load_experiment(args.config)
        apply_overrides(config, args.overrides)
        validate(config)
        return {split: config.data[split].to_dict() for split in ("train", "validation")}
    found = {}
    for kind, path in _kinds(args.data).items():
        frames = 1 if kind == "images" or (kind == "array_record" and _holds_images(path)) else args.frames
        one = stream(kind, path, frames=frames, resolution=args.resolution, batch=batch)
        check_stream(one, f"the stream of {path}")
        found[kind] = one.to_dict()
    return {"train": found, "validation": {}}


def _kinds(data: str) -> dict[str, str]:
    """What lies there, by kind of stream."""
    from tokjax.data.lists import IMAGE_SUFFIXES, VIDEO_SUFFIXES, files_below
    from tokjax.data.records import DataError

    folder = Path(data)
    if not folder.is_dir() or any(folder.glob("*.array_record")):
        return {"array_record": data}
    kinds = {"images": IMAGE_SUFFIXES, "videos": VIDEO_SUFFIXES}
    found = {kind: data for kind, ends in kinds.items() if any(path.lower().endswith(ends) for path in files_below(folder))}
    if not found:
        raise DataError(f"no images, videos or shards in {data}; give a folder with media files, or shards of `tokjax prepare`")
    return found


def _holds_images(path: str) -> bool:
    from tokjax.data.records import BadRecord, DataError
    from tokjax.data.sources import open_source

    try:
        return open_source({"kind": "array_record", "path": path}).record(0).kind == "image"
    except BadRecord as error:
        raise DataError(f"{error.id} of {path} {error}") from error
