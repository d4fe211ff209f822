"""What encode, decode and reconstruct share: how a long video is cut, and an end that leaves nothing half-written."""

from __future__ import annotations

import argparse
import contextlib
import signal
from collections.abc import Generator, Iterator
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--chunk-frames",
        type=int,
        metavar="N",
        help="frames computed at once, for VidTok's causal models; default: 16, or the next multiple of the time factor",
    )
    parser.add_argument(
        "--tile", type=int, metavar="PIXELS", help="compute large frames in overlapping square tiles; nearly the same result"
    )


def tile_of(args: argparse.Namespace) -> tuple[int, int] | None:
    return None if args.tile is None else (args.tile, args.tile)


@contextlib.contextmanager
def ended(items: Generator[Any, None, None]) -> Iterator[Iterator[Any]]:
    """The items; their threads end with the block, however it ends. A request to terminate (SIGTERM) ends it with code 143."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        with contextlib.closing(items):
            yield items
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)
