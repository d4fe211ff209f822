"""Examples:
  tokjax decode runs/quickstart tokens.npz -o out.mp4

The length, size and frame rate of the file that was encoded come back, in constant memory. How the tokens were cut in time is
read from their file; chunks and tiles need not be those of encoding.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tokjax import file_commands


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="the training workdir or export that encoded the tokens")
    parser.add_argument("tokens", type=Path, metavar="TOKENS.npz", help="a file written by `tokjax encode`")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the file to write: .mp4 .mov .mkv .png .jpg .webp")
    file_commands.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    import tokjax
    from tokjax.conversion.long_video import decode_frames, make_cut
    from tokjax.conversion.media import MEDIA_SUFFIXES, require_output, write_media
    from tokjax.conversion.token_files import read_tokens

    require_output(args.output, MEDIA_SUFFIXES)
    tokenizer = tokjax.load(args.model)
    header, parts = read_tokens(args.tokens, tokenizer)
    cut = make_cut(tokenizer, args.chunk_frames, file_commands.tile_of(args))
    with file_commands.ended(decode_frames(tokenizer, header, parts, cut)) as frames:
        bar = tqdm(frames, total=header.frames, unit=" frames", desc="decode", disable=None)
        write_media(args.output, bar, header.frame_rate)
    print(f"wrote {args.output}")
    return 0
