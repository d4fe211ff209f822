"""Examples:
  tokjax reconstruct runs/quickstart in.mp4 -o out.mp4
  tokjax reconstruct runs/quickstart photo.jpg -o again.png --side-by-side

Any length, height and width; the same come out, in memory that does not grow with the length. With VidTok's causal models the
result is that of the whole video in one piece; other models (VidTok's non-causal ones, OmniTokenizer) take clips of their
training length, each on its own, as in the published evaluation.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tokjax import file_commands


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a training workdir or an export")
    parser.add_argument("input", type=Path, help="a video or image file")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the file to write: .mp4 .mov .mkv .png .jpg .webp")
    parser.add_argument("--side-by-side", action="store_true", help="put the original on the left of the reconstruction")
    file_commands.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    import tokjax
    from tokjax.conversion.long_video import make_cut, reconstruct_frames
    from tokjax.conversion.media import MEDIA_SUFFIXES, Media, require_output, write_media

    require_output(args.output, MEDIA_SUFFIXES)
    media = Media(args.input)
    tokenizer = tokjax.load(args.model)
    cut = make_cut(tokenizer, args.chunk_frames, file_commands.tile_of(args))
    with file_commands.ended(reconstruct_frames(tokenizer, media, media.announced, cut, args.side_by_side)) as again:
        bar = tqdm(again, total=media.announced, unit=" frames", desc="reconstruct", disable=None)
        write_media(args.output, bar, media.frame_rate)
    print(f"wrote {args.output}")
    return 0
