"""Examples:
  tokjax generate runs/language_model --tokenizer runs/tokens -o samples --count 64
  tokjax generate runs/language_model --tokenizer runs/tokens -o samples --classes 207,360 --guidance 1.5 --top-k 2048
  tokjax generate runs/frames --tokenizer runs/tokens -o samples --count 4 --first-frames clip.mp4 --given 5
  tokjax generate runs/dit --tokenizer runs/kl -o samples --classes 0-999 --count 50 --guidance 2 --steps 250 --batch 64

The output folder gets the samples as PNG or MP4, a grid of the first ones, samples.json and index.html; it appears when all are
made. Sample number i depends on the seed, i and its class alone, whatever the batch and the number of devices; only rounding may
differ between batches of different sizes.

First frames are encoded by themselves, and must fill whole codes (1, 5, 9, ... of them with a time factor of 4). The published
script encodes the clip that they begin and keeps its first codes, which have seen the frames to be predicted.

Score samples with `tokjax evaluate --generated DIR --reference DATA --protocol adm-50k` (or ucf-2048, k600-2048).

Guidance of a language model is s in (1 + s) conditional - s unconditional, of diffusion s in unconditional + s (conditional -
unconditional), as published.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a model of tokens: a training workdir or an export")
    parser.add_argument("--tokenizer", type=Path, required=True, help="whose tokens it makes: a training workdir or an export")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="a folder that does not exist yet")
    parser.add_argument("--classes", default="", metavar="LIST", help="such as 3,7 or 0-99; default: no class")
    parser.add_argument("--count", type=int, default=1, help="samples of each class, or in all without classes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=16, help="samples that are drawn at once")
    parser.add_argument("--guidance", type=float, help="how much the class counts; default: 0 for codes, 1 for diffusion")
    parser.add_argument("--fps", type=float, default=8.0, help="frames per second of videos")
    codes = parser.add_argument_group("language models")
    codes.add_argument("--temperature", type=float, default=1.0)
    codes.add_argument("--top-k", type=int, default=0, help="draw from so many of the most likely codes; 0: from all")
    codes.add_argument("--top-p", type=float, default=1.0, help="draw from the most likely codes up to this share of probability")
    codes.add_argument("--greedy", action="store_true", help="always take the most likely code")
    codes.add_argument("--first-frames", type=Path, metavar="FILE", help="a video or image to go on from")
    codes.add_argument("--given", type=int, default=1, help="how many of its frames are kept")
    diffusion = parser.add_argument_group("diffusion")
    diffusion.add_argument("--method", choices=("ddpm", "ddim"), default="ddpm")
    diffusion.add_argument("--steps", default="250", help="such as 250, 10,15,20 or ddim50")
    diffusion.add_argument("--guided-channels", type=int, default=0, help="0: all; published are 3 (DiT) and 4 (Latte)")


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    import tokjax
    from tokjax.conversion.package import digest
    from tokjax.data.folders import new_folder
    from tokjax.errors import require
    from tokjax.generation.album import write_album
    from tokjax.generation.generate import Request, asks_what_was_never_trained, generate
    from tokjax.generation.package import load_generator

    require(0.01 <= args.fps <= 1000, f"--fps is {args.fps:g}; give 0.01 to 1000 frames per second")
    require(0 <= args.seed < 2**32, f"--seed is {args.seed}; give a number from 0 to {2**32 - 1}")
    require(args.given >= 1, f"--given is {args.given}; keep at least one frame")
    labels = _labels(args.classes, args.count)
    model, tokenizer = load_generator(args.model), tokjax.load(args.tokenizer)
    how = _how(args, model)
    given = _first_frames(args.first_frames, args.given) if args.first_frames else None
    request = Request(labels, args.seed, args.batch, how, given)
    if asks_what_was_never_trained(model, request):
        print(
            "tokjax: warning: this model was never trained without a class, which guidance and samples of no class need; samples "
            "may suffer",
            file=sys.stderr,
        )
    clips = generate(model, tokenizer, request)
    about = {"model": args.model, "step": model.step, "tokenizer": digest(tokenizer)[:16], "seed": args.seed, "sampling": how}
    about = {name: str(value) for name, value in about.items()}
    with new_folder(args.output) as folder:
        bar = tqdm(clips, total=len(labels), unit=" samples", desc="generate", disable=None)
        count = write_album(folder, bar, labels, about, args.fps)
    print(f"wrote {count} samples to {args.output}; open {args.output / 'index.html'}")
    return 0


def _labels(text: str, count: int) -> list[int]:
    """Each class of a list such as "3,7" or "0-99" so many times; "" is no class."""
    from tokjax.errors import ConfigError

    if count < 1:
        raise ConfigError(f"--count is {count}; ask for at least one sample")
    labels = []
    for part in text.split(",") if text else ():
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise ConfigError(f"--classes {text!r} is no list of classes; give numbers and ranges such as 3,7 or 0-99")
        labels += range(int(first), int(last or first) + 1)
    return [label for label in labels or [-1] for _ in range(count)]


def _how(args: argparse.Namespace, model):
    from tokjax.errors import ConfigError
    from tokjax.generation.filters import Drawing
    from tokjax.generation.latent_sampling import Denoising

    if model.config.model.family == "language_model":
        if args.method != "ddpm" or args.steps != "250" or args.guided_channels:
            raise ConfigError("--method, --steps and --guided-channels belong to diffusion; this one is a language model")
        return Drawing(args.temperature, args.top_k, args.top_p, args.guidance or 0.0, greedy=args.greedy)
    if args.top_k or args.top_p != 1 or args.temperature != 1 or args.greedy:
        raise ConfigError("--temperature, --top-k, --top-p and --greedy belong to language models; this one is of diffusion")
    return Denoising(args.method, args.steps, 1.0 if args.guidance is None else args.guidance, args.guided_channels)


def _first_frames(path: Path, count: int):
    """The first frames of a file, uint8 [1,count,h,w,3]."""
    import itertools

    import numpy as np

    from tokjax.conversion.media import Media
    from tokjax.errors import ConfigError

    frames = list(itertools.islice(Media(path), count))
    if len(frames) < count:
        raise ConfigError(f"{path} has {len(frames)} frames, but --given asks for {count}")
    return np.stack(frames)[None]
