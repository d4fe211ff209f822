"""Examples:
  tokjax prepare sample --output data/sample
  tokjax prepare images photographs --output shards/images --shards 16
  tokjax prepare videos films --table films.csv --output shards/videos --shards 64

Data needs no preparation: a stream of kind "images" or "videos" reads folders as they are. Shards help where many small files
are slow to open, as on network storage; read them with kind "array_record" and path "shards/images/*.array_record".
"""

from __future__ import annotations

import argparse
from pathlib import Path

_SAMPLE = """Makes a small data set without network access, from photographs inside scikit-image (pip install "tokjax[sample]"):
images and rendered clips in train/ and validation/, no photograph in both. Takes less than a minute and 5 MB."""
_IMAGES = """Packs every jpg, jpeg, png and webp below DIR into ArrayRecord shards, in the order of their paths.
Files that cannot be decoded are left out and named."""
_VIDEOS = """Packs every mp4, mov, mkv, webm and avi below DIR, or those a table lists, into ArrayRecord shards.
Files that cannot be decoded are left out and named. Videos are stored as they are, not encoded again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", metavar="WHAT", required=True)
    sample = kinds.add_parser("sample", help="a small data set to try everything with, made offline", description=_SAMPLE)
    images = kinds.add_parser("images", help="shards from a folder of images", description=_IMAGES)
    videos = kinds.add_parser("videos", help="shards from a folder or table of videos", description=_VIDEOS)
    for kind in (images, videos):
        kind.add_argument("path", type=Path, metavar="DIR", help="the folder, read with all folders in it")
        kind.add_argument(
            "--shards", type=int, default=1, metavar="N", help="how many files to write; default 1, aim at 100 MB each"
        )
    videos.add_argument(
        "--table", default="", metavar="CSV", help="a table with the column `videos`, paths relative to DIR; default: every video"
    )
    for kind in (sample, images, videos):
        kind.add_argument("--output", type=Path, required=True, metavar="OUT", help="a new folder, there when all is written")


def run(args: argparse.Namespace) -> int:
    if args.kind == "sample":
        from tokjax.data.sample import prepare_sample

        made = prepare_sample(args.output)
        print(f"wrote the sample data set to {args.output}" if made else f"{args.output} is the sample data set already")
        return 0
    from tokjax.data.prepare import prepare_array_records

    stream = {"kind": args.kind, "path": str(args.path), "table": getattr(args, "table", "")}
    written, bad = prepare_array_records(stream, args.output, args.shards)
    for record, reason in bad:
        print(f"left out {record}: {reason}")
    print(f"wrote {written} records to {args.output}/*.array_record, left out {len(bad)}")
    return 0
