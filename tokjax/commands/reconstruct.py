"""Examples:
  tokjax reconstruct runs/quickstart in.mp4 -o out.mp4
  tokjax reconstruct runs/quickstart photo.jpg -o again.png --side-by-side

Any length, height and width; the same come out. A long video is taken clip by clip, so memory does not grow with it.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a training workdir or an export")
    parser.add_argument("input", type=Path, help="a video or image file")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the file to write: .mp4 .mov .mkv .png .jpg .webp")
    parser.add_argument("--side-by-side", action="store_true", help="put the original on the left of the reconstruction")


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    import tokjax
    from tokjax.conversion.files import MEDIA_SUFFIXES, read_media, reconstruct_frames, require_output, write_media

    require_output(args.output, MEDIA_SUFFIXES)
    frames, frame_rate = read_media(args.input)
    tokenizer = tokjax.load(args.model)
    again = reconstruct_frames(tokenizer, frames, args.side_by_side)
    write_media(args.output, tqdm(again, unit=" frames", desc="reconstruct", disable=None), frame_rate)
    print(f"wrote {args.output}")
    return 0
