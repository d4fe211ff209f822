"""Examples:
  tokjax evaluate runs/quickstart
  tokjax evaluate runs/quickstart --data my_videos --output runs/quickstart/my_videos

Without --data the run's own validation streams are scored. DIR may hold `images` and `videos` (with `videos.csv` beside them, or
not), or media files directly; they are resized and cropped like the run's own streams of that kind.
Writes evaluation.json and report.html.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a training workdir or an export")
    parser.add_argument("--data", type=Path, metavar="DIR", help="images and videos to score on")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the results go; default: MODEL/evaluation")
    parser.add_argument("--step", type=int, help="a checkpoint of the workdir; default: the newest")


def run(args: argparse.Namespace) -> int:
    import json

    from tqdm import tqdm

    from tokjax.conversion.package import load_with_step
    from tokjax.data.sources import DataError
    from tokjax.evaluation.context import add_context, streams_in
    from tokjax.evaluation.report import write_report
    from tokjax.evaluation.validation import validate_model
    from tokjax.training.sharding import make_mesh
    from tokjax.training.telemetry import read_metrics
    from tokjax.training.workdir import write_atomically

    output = args.output or args.model / "evaluation"
    tokenizer, step = load_with_step(args.model, args.step)
    streams = streams_in(args.data, tokenizer.config) if args.data else tokenizer.config.data.validation.to_dict()
    if not streams:
        raise DataError(f"the config of {args.model} has no validation streams; say what to score on with --data DIR")
    output.mkdir(parents=True, exist_ok=True)  # a place that cannot be written is found out before the work
    mesh = make_mesh({"data": -1, "fsdp": 1, "context": 1})
    with tqdm(unit=" clips", desc="evaluate", disable=None) as bar:
        module, variables = tokenizer.module, tokenizer.variables
        result, pictures = validate_model(module, variables, streams, mesh, lambda done: bar.update(done - bar.n))
    history = read_metrics(args.model)
    add_context(result, tokenizer, streams, step, [] if args.data else history)
    write_atomically(output / "evaluation.json", json.dumps(result, indent=2) + "\n")
    write_report(output / "report.html", result, history, pictures)
    _print_result(result, output)
    return 0


def _print_result(result: dict, output: Path) -> None:
    for name, one in result["streams"].items():
        began = f" ({one['psnr_at_start']:.2f} dB before training)" if "psnr_at_start" in one else ""
        print(
            f"{name}: PSNR {one['psnr']:.2f} dB{began}, SSIM {one['ssim']:.4f} over {one['frames']} frames of "
            f"{one['clips']} clips, {one['pixel_values_per_latent_value']:.0f} pixel values per latent value"
        )
    if result["codebook"]:
        book = result["codebook"]
        several = f"{book['codebooks']} x " if book["codebooks"] > 1 else ""
        print(f"codebook: {book['usage']:.1%} of {several}{book['size']:,} codes used, perplexity {book['perplexity']:,.0f}")
    print(f"wrote {output / 'evaluation.json'} and {output / 'report.html'}")
