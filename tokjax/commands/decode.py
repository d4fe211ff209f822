"""Examples:
  tokjax decode runs/quickstart tokens.npz -o out.mp4

The length, size and frame rate of the file that was encoded come back.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="the training workdir or export that encoded the tokens")
    parser.add_argument("tokens", type=Path, metavar="TOKENS.npz", help="a file written by `tokjax encode`")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the file to write: .mp4 .mov .mkv .png .jpg .webp")


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    import tokjax
    from tokjax.conversion.files import MEDIA_SUFFIXES, decode_frames, read_tokens, require_output, write_media

    require_output(args.output, MEDIA_SUFFIXES)
    tokenizer = tokjax.load(args.model)
    tokens = read_tokens(args.tokens, tokenizer)
    frames = tqdm(decode_frames(tokenizer, tokens), total=tokens.frames, unit=" frames", desc="decode", disable=None)
    write_media(args.output, frames, tokens.frame_rate)
    print(f"wrote {args.output}")
    return 0
