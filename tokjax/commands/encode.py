"""Examples:
  tokjax encode runs/quickstart in.mp4 -o tokens.npz
  tokjax encode runs/quickstart film_4k.mkv -o tokens.npz --tile 256

A video of any length, in constant memory. With VidTok's causal models the tokens are those of the whole video in one piece; other
models (VidTok's non-causal ones, OmniTokenizer) take clips of their training length, each on its own, as in the published
evaluation.

The file holds codes `indices_000000`, `indices_000001`, ... [t,h,w], one part of the video after the other, or continuous
`latents_...` [t,h,w,c]; the size, length and frame rate to give back; and a digest of the model, without which `tokjax decode`
refuses it. In Python:

  with np.load("tokens.npz") as file:
      indices = np.concatenate([file[name] for name in sorted(file.files) if name.startswith("indices_")])
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tokjax import file_commands


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a training workdir or an export")
    parser.add_argument("input", type=Path, help="a video or image file")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="TOKENS.npz", help="the token file to write")
    file_commands.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    import tokjax
    from tokjax.conversion.long_video import encode_frames, header_of, make_cut
    from tokjax.conversion.media import Media, require_output
    from tokjax.conversion.token_files import write_tokens

    require_output(args.output, (".npz",))
    media = Media(args.input)
    tokenizer = tokjax.load(args.model)
    cut = make_cut(tokenizer, args.chunk_frames, file_commands.tile_of(args))
    frames = tqdm(media, total=media.announced, unit=" frames", desc="encode", disable=None)
    with file_commands.ended(encode_frames(tokenizer, frames, media.announced, cut)) as parts:
        values = write_tokens(args.output, parts, lambda: header_of(tokenizer, media, cut))
    kind = "latent values" if tokenizer.module.quantizer.codebook_size is None else "codes"
    print(f"wrote {args.output}: {media.frames} frames of {media.width}x{media.height} as {values:,} {kind}")
    return 0
