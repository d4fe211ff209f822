"""Examples:
  tokjax prepare sample --output data/sample
  tokjax prepare images imagenet/train --output shards/imagenet --workers 16
  tokjax prepare videos films --table films.csv --short-side 256 --gop 16 --output shards/films
  tokjax prepare videos k600 --table k600/annotations/train.csv --min-frames 17 --output shards/k600
  tokjax prepare tfds imagenet2012 --split train --output shards/imagenet

Data needs no preparation: a stream of kind "images" or "videos" reads folders and lists as they are. Shards help where many small
files are slow to open, as on network storage; read them with kind "array_record" and path "shards/images/*.array_record".
OUT holds the shards, manifest.json and verdicts.jsonl, which says what happened to each file. It appears when all is written;
after a kill or a full disk the same command goes on with the shards that are not finished.
Exit codes: 0 written, even where files were left out; 1 an error.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

_SAMPLE = """Makes a small data set without network access, from photographs inside scikit-image (pip install "tokjax[sample]"):
images and rendered clips in train/ and validation/, no photograph in both. Takes less than a minute and 5 MB."""
_MEDIA = """Files that cannot be used, and copies of earlier ones, are left out and named. Without --short-side and --gop the
bytes are kept as they are."""
_IMAGES = f"""Packs every jpg, jpeg, png and webp below DIR into ArrayRecord shards, in the order of their paths, or what a list
names: lines `path` or `path label`. Without a list the class of an image is its folder, as of ImageNet. {_MEDIA}"""
_VIDEOS = f"""Packs every mp4, mov, mkv, webm and avi below DIR, or those of a table: VidTok's (column `videos`), annotations of
Kinetics (youtube_id, time_start, time_end, label; files ID_BEGIN_END.* or whole videos ID.*, of which that part is taken), or
OmniTokenizer's and UCF-101's lists (a path a line). The class of a video is its folder, or Kinetics' label. {_MEDIA}"""
_TFDS = f"""Downloads and builds a data set of TensorFlow Datasets, which takes TensorFlow (pip install "tokjax[tfds]"), and packs
one of its splits. NAME may also be the folder of a built set, such as ~/tensorflow_datasets/ucf101/2.0.0. {_MEDIA}"""
_SHOWN = 20  # files that are named on the screen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", metavar="WHAT", required=True)
    sample = kinds.add_parser("sample", help="a small data set to try everything with, made offline", description=_SAMPLE)
    images = kinds.add_parser("images", help="shards from a folder or list of images", description=_IMAGES)
    videos = kinds.add_parser("videos", help="shards from a folder or table of videos", description=_VIDEOS)
    tfds = kinds.add_parser("tfds", help="shards from a data set of TensorFlow Datasets", description=_TFDS)
    for kind in (images, videos):
        kind.add_argument("path", type=Path, metavar="DIR", help="the folder, read with all folders in it")
        kind.add_argument("--table", default="", metavar="LIST", help="a list, paths relative to DIR; default: every file")
    tfds.add_argument("name", metavar="NAME", help="such as imagenet2012 or ucf101")
    tfds.add_argument("--split", default="train", help="default: %(default)s")
    tfds.add_argument("--data-dir", default="", metavar="DIR", help="where TFDS keeps its data sets; default: its own choice")
    for kind in (images, videos, tfds):
        kind.add_argument("--shards", type=int, default=0, metavar="N", help="how many files; default: of about 128 MB each")
        kind.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes; default: %(default)s")
        kind.add_argument(
            "--short-side", type=int, default=0, metavar="PIXELS", help="encode what is larger again, with this shorter side"
        )
    for kind in (videos, tfds):
        kind.add_argument(
            "--gop", type=int, default=0, metavar="FRAMES", help="encode again, a key frame at least so often; 16 starts fast"
        )
        kind.add_argument("--min-frames", type=int, default=1, metavar="N", help="leave out shorter videos; default: %(default)s")
    for kind in (sample, images, videos, tfds):
        kind.add_argument("--output", type=Path, required=True, metavar="OUT", help="a new folder, there when all is written")


def run(args: argparse.Namespace) -> int:
    if args.kind == "sample":
        from tokjax.data.sample import prepare_sample

        made = prepare_sample(args.output)
        print(f"wrote the sample data set to {args.output}" if made else f"{args.output} is the sample data set already")
        return 0
    from tokjax import __version__
    from tokjax.data.prepare import prepare_array_records
    from tokjax.data.records import DataError, printable
    from tokjax.data.reencode import Encoding
    from tokjax.data.shards import Rules

    if args.workers < 1:
        raise DataError(f"--workers must be at least 1, not {args.workers}")
    rules = Rules(Encoding(args.short_side, getattr(args, "gop", 0)), getattr(args, "min_frames", 1))
    how = {"workers": args.workers, "rules": rules, "version": __version__}
    written, left_out = prepare_array_records(_stream(args), args.output, args.shards, **how)
    for record, reason in left_out[:_SHOWN]:
        print(f"left out {printable(record)}: {reason}")
    if len(left_out) > _SHOWN:
        print(f"and {len(left_out) - _SHOWN} more, see {args.output}/verdicts.jsonl")
    print(f"wrote {written} records to {args.output}/*.array_record, left out {len(left_out)}")
    return 0


def _stream(args: argparse.Namespace) -> dict[str, str]:
    """What `open_source` reads of a stream."""
    if args.kind != "tfds":
        return {"kind": args.kind, "path": str(args.path), "table": args.table, "split": ""}
    from tokjax.data.tfds_source import prepared_directory

    built = (Path(args.name).expanduser() / "dataset_info.json").is_file()
    path = args.name if built else prepared_directory(args.name, args.data_dir)
    return {"kind": "tfds", "path": path, "table": "", "split": args.split}
