"""Examples:
  tokjax encode runs/quickstart in.mp4 -o tokens.npz
  tokjax encode runs/quickstart film_4k.mkv -o tokens.npz --tile 256
  tokjax encode runs/quickstart --data data/sample/train/images --resolution 64 --output caches/images
  tokjax encode runs/tokens --data data/ucf101 --frames 17 --resolution 256 --batch 8 --shards 64 --output caches/ucf101

A file: a video of any length, in constant memory. With VidTok's causal models the tokens are those of the whole video in one
piece; other models (VidTok's non-causal ones, OmniTokenizer) take clips of their training length, each on its own, as in the
published evaluation. The file holds codes `indices_000000`, `indices_000001`, ... [t,h,w], one part of the video after the other,
or continuous `latents_...` [t,h,w,c]; the size, length and frame rate to give back; and a digest of the model, without which
`tokjax decode` refuses it. In Python:

  with np.load("tokens.npz") as file:
      indices = np.concatenate([file[name] for name in sorted(file.files) if name.startswith("indices_")])

A data set (--data): a folder of images, or with --frames of videos, or of shards from `tokjax prepare`. Each record gives one
clip, from its beginning and its middle, as a record of an ArrayRecord shard: a cache, which models of tokens are trained on
(streams of kind "tokens"). It keeps classes and the digest of the tokenizer, and of latents their mean and deviation. The same
command goes on with a cache that was not finished.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tokjax import file_commands


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a training workdir or an export")
    parser.add_argument("input", type=Path, nargs="?", help="a video or image file")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUTPUT",
        help="the token file (.npz) or, with --data, the folder to write",
    )
    file_commands.add_arguments(parser)
    data = parser.add_argument_group("a data set")
    data.add_argument("--data", type=Path, metavar="DIR", help="a folder of images, of videos, or of shards")
    data.add_argument("--table", default="", metavar="FILE", help="a list of its files")
    data.add_argument("--frames", type=int, default=1, help="of a clip; 1 takes images")
    data.add_argument("--resolution", type=int, help="height and width of the crop in its middle")
    data.add_argument("--short-side", type=int, default=0, help="the shorter side is resized to this first; default: the crop's")
    data.add_argument("--frame-rate", type=float, default=0.0, help="frames per second after sampling; default: the file's own")
    data.add_argument("--batch", type=int, default=8, help="clips that are encoded at once")
    data.add_argument("--shards", type=int, default=1, help="files that the cache is written to")


def run(args: argparse.Namespace) -> int:
    from tokjax.errors import ConfigError

    if (args.data is None) == (args.input is None):
        raise ConfigError("give a file to encode, or a data set with --data")
    return _encode_file(args) if args.data is None else _encode_data(args)


def _encode_file(args: argparse.Namespace) -> int:
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


def _encode_data(args: argparse.Namespace) -> int:
    import tokjax
    from tokjax.config import ConfigError, stream
    from tokjax.conversion.token_cache import encode_data
    from tokjax.stream_checks import check_stream

    if args.resolution is None or args.chunk_frames or args.tile:
        raise ConfigError("--data needs --resolution, and encodes clips whole, without --chunk-frames and --tile")
    shards = args.data.is_dir() and any(args.data.glob("*.array_record"))
    kind = "array_record" if shards else "images" if args.frames == 1 else "videos"
    sizes = {"frames": args.frames, "frame_rate": args.frame_rate, "resolution": args.resolution, "batch": args.batch}
    one = stream(kind, str(args.data), table=args.table, short_side=args.short_side, crop="centre", flip=False, **sizes)
    check_stream(one, "the data set")
    about = encode_data(tokjax.load(args.model), one.to_dict(), args.output, args.shards)
    what = f"codes of {about.codes:,}" if about.codes else "latents"
    size, classes = "x".join(map(str, about.shape)), f", {about.classes} classes" if about.classes else ""
    print(f"wrote {args.output}: {about.records:,} samples of {size} {what}{classes}, in {args.shards} shards")
    return 0
