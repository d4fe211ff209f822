"""Examples:
  tokjax evaluate runs/quickstart
  tokjax evaluate runs/quickstart --data my_videos --output runs/quickstart/my_videos
  tokjax evaluate models/kl --data mcl_jcv --protocol vidtok --weights lpips.npz i3d.npz
  tokjax evaluate models/kl --data imagenet/val --protocol imagenet-rfid-50k --metrics fid_tf1,psnr --weights inception.npz
  tokjax evaluate theirs --reference originals --protocol omnitokenizer-image --metrics fid_torch --set jpeg=75 --weights fid.npz
  tokjax evaluate --generated samples --reference imagenet/train --protocol adm-50k --weights inception.npz
  tokjax evaluate --generated clips --reference UCF-101 --protocol ucf-2048 --set frames=17 --weights i3d.npz
  tokjax evaluate --compare runs/a/evaluation runs/b/evaluation theirs/evaluation --output table

Without --data the run's own validation streams are scored. DIR may hold `images` and `videos` (with `videos.csv` beside them, or
not), or media files directly; they are resized and cropped like the run's own streams of that kind, or as a protocol says.
With --reference the first argument is a folder of reconstructions, paired with the originals by name; arrays .npy [t,h,w,3] of
uint8 or of floats -1..1 are read beside images and videos. Writes evaluation.json and report.html; --compare writes table.md,
.tex, .csv and .html of the evaluation.json in the named folders.

With --generated a folder of samples is judged, what `tokjax generate` wrote or any images, videos or arrays, against references
that are not their partners: a folder of the data set, or the file .npz that an earlier evaluation kept of it in --cache. Of more
samples than the protocol has, so many are taken, evenly spread in the order of names; of fewer, the number is given and marked.
  adm-50k    50,000 images of 256 pixels: FID, Inception Score, precision and recall
  ucf-2048   2,048 videos, their middle 16 frames, 128 pixels: FVD, against as many videos of UCF-101
  k600-2048  2,048 predictions, 17 frames of 64 pixels with the given ones first: FVD, against as many videos of Kinetics-600
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, nargs="?", help="a training workdir or an export, or a folder of reconstructions")
    parser.add_argument("--generated", type=Path, metavar="DIR", help="a folder of generated samples, rather than a model")
    parser.add_argument("--data", type=Path, metavar="DIR", help="images and videos to score on")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where the results go; default: MODEL/evaluation, DIR/evaluation"
    )
    parser.add_argument("--step", type=int, help="a checkpoint of the workdir; default: the newest")
    parser.add_argument(
        "--reference", type=Path, metavar="PATH", help="the originals of reconstructions; or references of samples, or their file"
    )
    parser.add_argument(
        "--protocol",
        metavar="NAME",
        help="vidtok, vidtok-whole, omnitokenizer-image, omnitokenizer-video, imagenet-rfid-50k; adm-50k, ucf-2048, k600-2048",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="another value in the protocol: frames=16"
    )
    parser.add_argument("--metrics", default="", metavar="A,B", help="these metrics rather than the protocol's")
    parser.add_argument("--weights", type=Path, nargs="+", default=[], metavar="FILE", help="made by `tokjax convert perceptual`")
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="clips at a time; default: 8")
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="where statistics of originals are kept; default: ~/.cache/tokjax"
    )
    parser.add_argument("--compare", type=Path, nargs="+", metavar="DIR", help="one table of these evaluations")


def run(args: argparse.Namespace) -> int:
    from tokjax.errors import ConfigError

    if args.compare:
        others = (args.model, args.generated, args.data, args.reference, args.protocol, args.step, args.cache)
        if any(one is not None for one in others) or args.set or args.metrics or args.weights:
            raise ConfigError("--compare takes folders of finished evaluations and --output; leave the rest out")
        return _compare(args)
    if args.model is None and args.generated is None:
        raise ConfigError(
            "say what to evaluate: a model, a folder of reconstructions with --reference, --generated DIR, or --compare DIR ..."
        )
    if args.batch < 1:
        raise ConfigError(f"--batch must be at least 1, not {args.batch}")
    if args.generated:
        _check_generated(args)
        return _write(args, *_samples(args))
    if args.reference:
        if args.data or args.step is not None:
            raise ConfigError(
                "--reference names the originals of a folder of reconstructions; --data and --step belong to a model"
            )
        return _write(args, *_reconstructions(args))
    if args.protocol:
        return _write(args, *_by_protocol(args))
    if args.set or args.weights or args.metrics:
        raise ConfigError("--set, --metrics and --weights belong to a protocol: name one with --protocol, or give --reference")
    return _write(args, *_own_streams(args))


def _output(args: argparse.Namespace) -> Path:
    return args.output or (args.generated or args.model) / "evaluation"


def _check_generated(args: argparse.Namespace) -> None:
    from tokjax.errors import ConfigError
    from tokjax.evaluation.protocols import protocols_of

    if args.model or args.data or args.step is not None:
        raise ConfigError("--generated names the samples; a model, --data and --step belong to evaluations of reconstructions")
    if not args.generated.is_dir():
        raise ConfigError(f"the folder of samples {args.generated} does not exist")
    if not args.reference:
        raise ConfigError(
            "samples are compared with references: name their folder, or the file that an earlier run kept, with --reference"
        )
    if not args.reference.exists():
        raise ConfigError(f"the reference {args.reference} does not exist")
    if not args.protocol:
        raise ConfigError(f"say by which protocol, with --protocol; of samples there are {', '.join(protocols_of('generation'))}")


def _shared_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tokjax"


def _bar():
    from tqdm import tqdm

    return tqdm(unit=" clips", desc="evaluate", disable=None)


def _shown_on(bar):
    return lambda done: bar.update(done - bar.n)


def _own_streams(args: argparse.Namespace) -> tuple:
    from tokjax.conversion.package import load_with_step
    from tokjax.data.sources import DataError
    from tokjax.evaluation.context import add_context, streams_in
    from tokjax.evaluation.validation import validate_model
    from tokjax.training.sharding import make_mesh
    from tokjax.training.telemetry import read_metrics

    tokenizer, step = load_with_step(args.model, args.step)
    streams = streams_in(args.data, tokenizer.config) if args.data else tokenizer.config.data.validation.to_dict()
    if not streams:
        raise DataError(f"the config of {args.model} has no validation streams; say what to score on with --data DIR")
    _output(args).mkdir(parents=True, exist_ok=True)  # a place that cannot be written is found out before the work
    began = time.monotonic()
    mesh = make_mesh({"data": -1, "fsdp": 1, "context": 1})
    with _bar() as bar:
        module, variables = tokenizer.module, tokenizer.variables
        result, pictures = validate_model(module, variables, streams, mesh, _shown_on(bar), examples=True)
    history = read_metrics(args.model)
    add_context(result, tokenizer, streams, step, [] if args.data else history, time.monotonic() - began)
    return result, history, pictures, tokenizer


def _by_protocol(args: argparse.Namespace) -> tuple:
    from tokjax.conversion.package import load_with_step
    from tokjax.errors import ConfigError
    from tokjax.evaluation.protocol_run import evaluate_model
    from tokjax.training.sharding import make_mesh

    if not args.data:
        raise ConfigError("a protocol needs data: give the folder of its data set with --data DIR")
    setup = _setup(args, args.data)
    tokenizer, step = load_with_step(args.model, args.step)
    mesh = make_mesh({"data": -1, "fsdp": 1, "context": 1})
    with _bar() as bar:
        result, pictures = evaluate_model(setup, tokenizer, step, mesh, _shown_on(bar))
    return result, [], pictures, tokenizer


def _reconstructions(args: argparse.Namespace) -> tuple:
    from tokjax.evaluation.protocol_run import evaluate_folder
    from tokjax.training.sharding import make_mesh

    setup = _setup(args, args.reference)
    mesh = make_mesh({"data": -1, "fsdp": 1, "context": 1})
    with _bar() as bar:
        result, pictures = evaluate_folder(setup, args.model, mesh, _shown_on(bar))
    return result, [], pictures, None


def _samples(args: argparse.Namespace) -> tuple:
    from tokjax.evaluation.generated_run import evaluate_generated
    from tokjax.training.sharding import make_mesh

    setup = _setup(args, args.reference, "generation")
    mesh = make_mesh({"data": -1, "fsdp": 1, "context": 1})
    with _bar() as bar:
        result, samples = evaluate_generated(setup, args.generated, mesh, _shown_on(bar))
    return result, [], [], None, samples


def _setup(args: argparse.Namespace, data: Path, task: str = "reconstruction"):
    from tokjax.evaluation.networks import open_all
    from tokjax.evaluation.pairs import as_they_are
    from tokjax.evaluation.protocol_run import Setup
    from tokjax.evaluation.protocols import protocol_named

    metrics = tuple(filter(None, args.metrics.split(",")))
    if args.protocol:
        protocol, overrides = protocol_named(args.protocol, args.set, metrics, task)
    else:
        protocol, overrides = as_they_are(data, args.set, metrics)
    weights = open_all(args.weights)
    return Setup(protocol, overrides, weights, data, _output(args), args.cache or _shared_cache(), args.batch)


def _write(args: argparse.Namespace, result: dict, history: list, pictures: list, tokenizer, samples: dict | None = None) -> int:
    import json

    from tokjax.evaluation.latent_maps import latent_maps
    from tokjax.evaluation.report import write_report
    from tokjax.training.workdir import write_atomically

    output = _output(args)
    write_atomically(output / "evaluation.json", json.dumps(result, indent=2) + "\n")
    maps = latent_maps(tokenizer, pictures) if tokenizer else {}
    write_report(output / "report.html", result, history, pictures, maps, samples)
    _print_result(result, output)
    return 0


def _print_result(result: dict, output: Path) -> None:
    from tokjax.evaluation.comparison import metrics_text

    for name, one in result["streams"].items():
        began = f" ({one['psnr_at_start']:.2f} dB before training)" if "psnr_at_start" in one else ""
        ratio = one.get("pixel_values_per_latent_value")
        compressed = f", {ratio:.0f} pixel values per latent value" if ratio else ""
        print(f"{name}: {metrics_text(one, began)} over {one['frames']} frames of {one['clips']} clips{compressed}")
    if result["codebook"]:
        book = result["codebook"]
        several = f"{book['codebooks']} x " if book["codebooks"] > 1 else ""
        print(f"codebook: {book['usage']:.1%} of {several}{book['size']:,} codes used, perplexity {book['perplexity']:,.0f}")
    for warning in result.get("warnings", ()):
        print(f"note: {warning}")
    print(f"wrote {output / 'evaluation.json'} and {output / 'report.html'}")


def _compare(args: argparse.Namespace) -> int:
    from tokjax.evaluation.comparison import read_evaluations, write_tables

    output = args.output or Path("comparison")
    evaluations = read_evaluations(args.compare)
    print(write_tables(evaluations, output))
    print(f"wrote {output}.md, .tex, .csv and .html")
    return 0
