"""VidTok (causal v1.1) in tokjax against PyTorch (diffusers' `AutoencoderVidTok`): same weights, same clip, float32, CPU.

    python benchmarks/vidtok_against_torch.py --json vidtok_against_torch.json
    python benchmarks/vidtok_against_torch.py --channels 32 --size 64 --repeats 20
    python benchmarks/vidtok_against_torch.py --forms --repeats 20

Both outputs are compared before anything is timed. Then the two take turns in one process (PyTorch, tokjax, PyTorch, ...); a
number is the median over the repeats, and a ratio above 1 says that tokjax is faster. --forms times each distinct convolution of
the model alone, as `convolve` computes it; PyTorch gets its input in the layout that its own model makes first, uncounted.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from diffusers import AutoencoderVidTok
from tqdm import tqdm
from vidtok_convolutions import Pair, convolution_pairs

from tokjax.conversion.vidtok import from_torch
from tokjax.defaults import defaults
from tokjax.models.tokenizer import build
from tokjax.training.hardware import environment

FACTOR = 4  # frames for a latent
PAUSE = 0.05  # seconds between turns, for the threads of the other side to go to sleep


def torch_model(channels: int) -> AutoencoderVidTok:
    """Random weights, none of them zero, so that a part that starts without effect counts in the comparison too."""
    torch.manual_seed(0)
    model = AutoencoderVidTok(ch=channels).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05)
    return model


def model_pairs(channels: int, frames: int, size: int) -> Iterator[tuple[str, Pair]]:
    """encode (the mean of the latents), decode, and both, of one clip."""
    theirs, config = torch_model(channels), defaults().model
    config.update({"channels": channels, "causality": "causal_v1_1"})
    ours = build(config)
    template = jax.eval_shape(ours.init, jax.random.key(0), jax.ShapeDtypeStruct((1, frames, size, size, 3), np.float32))
    state = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    variables = jax.device_put({"params": from_torch(state, template["params"], config.norm)})
    clip = np.random.default_rng(0).uniform(-1, 1, (1, frames, size, size, 3)).astype(np.float32)
    video, video_torch = jax.device_put(clip), torch.from_numpy(np.moveaxis(clip, -1, 1).copy())

    def encode_torch() -> torch.Tensor:
        first = video_torch[:, :, :1].expand(-1, -1, FACTOR - 1, -1, -1)  # as the model's forward() does
        return theirs.encode(torch.cat([first, video_torch], dim=2)).latent_dist.mode()

    encode = jax.jit(lambda variables, video: ours.apply(variables, video, method="encode").latents)
    decode = jax.jit(lambda variables, latents: ours.apply(variables, latents, method="decode")[:, -frames:])
    both = jax.jit(lambda variables, video: decode(variables, encode(variables, video)))
    latents = encode(variables, video)
    latents_torch = torch.from_numpy(np.moveaxis(np.asarray(latents), -1, 1).copy())
    yield "encode", Pair(encode_torch, lambda: encode(variables, video), channels_last)
    yield "decode", Pair(lambda: theirs.decode(latents_torch), lambda: decode(variables, latents), channels_last)
    yield "both", Pair(lambda: theirs.decode(encode_torch()), lambda: both(variables, video), channels_last)


def channels_last(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, 1, -1)


def difference(pair: Pair) -> float:
    """The largest difference of the two results, in units of the result's standard deviation."""
    theirs, ours = pair.convert(pair.torch().numpy()), np.asarray(pair.tokjax())
    if theirs.shape != ours.shape:
        sys.exit(f"the two results have the shapes {theirs.shape} and {ours.shape}, so there is nothing to compare")
    return float(np.abs(theirs - ours).max() / theirs.std())


def compare(name: str, pair: Pair, repeats: int, tolerance: float) -> dict[str, Any]:
    """Checks that the results agree, then times both in turn; seconds."""
    apart = difference(pair)
    if not apart <= tolerance:
        sys.exit(f"{name}: the results are {apart:.2g} standard deviations apart, more than {tolerance:g}; nothing was timed")
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for side, call in zip(seconds, (pair.torch, pair.tokjax), strict=True):
            time.sleep(PAUSE)
            start = time.perf_counter()
            jax.block_until_ready(call())
            side.append(time.perf_counter() - start)
    theirs, ours = (statistics.median(side) for side in seconds)
    return {"name": name, "difference": apart, "torch": theirs, "tokjax": ours, "ratio": theirs / ours, "seconds": seconds}


def limit_threads(threads: int) -> None:
    """Both sides to this many cores; before the first computation, since XLA's threads are as many as there are cores to use."""
    cores = sorted(os.sched_getaffinity(0))
    if not 1 <= threads <= len(cores):
        sys.exit(f"--threads must be between 1 and the {len(cores)} cores of this machine, not {threads}")
    os.sched_setaffinity(0, cores[:threads])
    torch.set_num_threads(threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=128, help="width of the model; default 128, the published one")
    parser.add_argument("--frames", type=int, default=17, help="1 more than a multiple of 4; default 17")
    parser.add_argument("--size", type=int, default=256, help="height and width, a multiple of 8; default 256")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tolerance", type=float, default=1e-3, help="in standard deviations; default 1e-3")
    parser.add_argument("--forms", action="store_true", help="the distinct convolutions alone, in place of the model")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.frames % FACTOR != 1 or args.size % 8 or min(args.size, args.channels, args.repeats) < 1:
        parser.error("--frames is 1 more than a multiple of 4, --size a multiple of 8, --channels and --repeats at least 1")
    load = os.getloadavg()[0]
    jax.config.update("jax_platforms", "cpu")
    limit_threads(args.threads)
    make = convolution_pairs if args.forms else model_pairs
    with torch.inference_mode():
        pairs = tqdm(make(args.channels, args.frames, args.size), disable=None)
        rows = [compare(name, pair, args.repeats, args.tolerance) for name, pair in pairs]
    print(f"{'':<52}{'torch ms':>12}{'tokjax ms':>12}{'ratio':>8}{'difference':>12}")
    for row in rows:
        milliseconds = f"{row['torch'] * 1e3:>12.2f}{row['tokjax'] * 1e3:>12.2f}"
        print(f"{row['name']:<52}{milliseconds}{row['ratio']:>8.2f}{row['difference']:>12.1e}")
    if args.json:
        given = {name: value for name, value in vars(args).items() if name != "json"} | {"load_average_before": load}
        about = given | {"command": shlex.join(["python", *sys.argv])} | environment(("torch", "diffusers"))
        args.json.write_text(json.dumps(about | {"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
