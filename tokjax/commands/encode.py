"""Examples:
  tokjax encode runs/quickstart in.mp4 -o tokens.npz

The file holds `indices` [t,h,w] (codes) or `latents` [t,h,w,c] (continuous), the size, length and frame rate to give back, and a
digest of the model, without which `tokjax decode` refuses it.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a training workdir or an export")
    parser.add_argument("input", type=Path, help="a video or image file")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="TOKENS.npz", help="the token file to write")


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    import tokjax
    from tokjax.conversion.files import encode_frames, read_media, require_output

    require_output(args.output, (".npz",))
    frames, frame_rate = read_media(args.input)
    tokenizer = tokjax.load(args.model)
    tokens = encode_frames(tokenizer, tqdm(frames, unit=" frames", desc="encode", disable=None), frame_rate)
    tokens.save(args.output)
    kept = tokens.latents if tokens.indices is None else tokens.indices
    kind = "latent values" if tokens.indices is None else "codes"
    print(f"wrote {args.output}: {tokens.frames} frames of {tokens.width}x{tokens.height} as {kept.size:,} {kind}")
    return 0
