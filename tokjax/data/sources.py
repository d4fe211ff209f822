"""Where records lie: folders and lists of images and videos, ArrayRecord shards, TFDS; all read by position.

A record is one encoded file. Its id does not change when others are added, and a source's fingerprint changes when they are.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from tokjax.data.lists import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Listing, list_folder, list_table
from tokjax.data.records import BadRecord, DataError, Record, pack, unpack

__all__ = ["IMAGE_SUFFIXES", "VIDEO_SUFFIXES", "BadRecord", "DataError", "Record", "Source", "open_source", "pack", "unpack"]

MANIFEST, VERDICTS = "manifest.json", "verdicts.jsonl"


class Source(Protocol):
    """Records by position."""

    def __len__(self) -> int: ...

    def record(self, index: int) -> Record:
        """Reads one record. Raises BadRecord where it cannot be read."""

    def fingerprint(self) -> str:
        """A sha256 over what the source consists of, from names and sizes, without reading media."""

    def size(self) -> int:
        """Bytes of all records, about."""


def open_source(stream: dict[str, Any]) -> Source:
    """The source of a stream.

    Args:
      stream: a plain dict with the keys of `tokjax.config.stream`; `kind`, `path`, `table` and, for tfds, `split` are used.

    Raises:
      DataError: nothing is there to read.
    """
    if stream["kind"] == "array_record":
        return ShardSource(stream["path"])
    if stream["kind"] == "tokens":
        from tokjax.data.tokens import TokenSource

        return TokenSource(stream["path"])
    if stream["kind"] == "tfds":
        from tokjax.data.tfds_source import TfdsSource

        return TfdsSource(stream["path"], stream["split"])
    root, table = Path(stream["path"]), stream.get("table")
    if not root.is_dir():
        raise DataError(f"the data folder {root} does not exist; check the stream's path")
    listing = list_table(root, Path(table), stream["kind"]) if table else list_folder(root, stream["kind"])
    if listing.left_out:
        name, _, reason = listing.left_out[0]
        logging.warning("%d rows of the table %s are left out, the first is %s: %s", len(listing.left_out), table, name, reason)
    return FileSource(root, listing, stream["kind"][:-1])


class OpenOnce:
    """`open_source` for a process that reads the same streams again and again: each source is searched for files once."""

    def __init__(self) -> None:
        self._opened: dict[tuple[str, ...], Source] = {}

    def __call__(self, stream: dict[str, Any]) -> Source:
        """As `open_source`."""
        place = stream["kind"], stream["path"], stream.get("table", ""), stream.get("split", "")
        if place not in self._opened:
            self._opened[place] = open_source(stream)
        return self._opened[place]


class FileSource:
    """Files below a folder, read when asked for."""

    def __init__(self, root: Path, listing: Listing, kind: str) -> None:
        self.root, self.listing, self.kind = root, listing, kind

    @property
    def ids(self) -> list[str]:
        return [entry.id for entry in self.listing.entries]

    def __len__(self) -> int:
        return len(self.listing.entries)

    def record(self, index: int) -> Record:
        entry = self.listing.entries[index]
        try:
            return Record(entry.id, self.kind, (self.root / entry.path).read_bytes(), entry.label, entry.begin, entry.end)
        except OSError as error:
            verdict = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
            raise BadRecord(f"cannot be read: {error.strerror}", entry.id, verdict) from error

    @cached_property
    def _sizes(self) -> list[int]:
        paths = (self.root / entry.path for entry in self.listing.entries)
        return [path.stat().st_size if path.is_file() else -1 for path in paths]

    def fingerprint(self) -> str:
        labels = ("" if entry.label is None else f"\0{entry.label}" for entry in self.listing.entries)
        return _digest((name + label, size) for name, label, size in zip(self.ids, labels, self._sizes, strict=True))

    def size(self) -> int:
        return sum(max(0, size) for size in self._sizes)

    def part(self, indices: range) -> FileSource:
        """A source of some of its records."""
        return FileSource(self.root, self.listing._replace(entries=self.listing.entries[indices.start : indices.stop]), self.kind)


class ShardSource:
    """ArrayRecord shards written by `tokjax prepare`: each record is a packed id, kind and media.

    Shards may lie in a bucket, as in gs://BUCKET/DIR/*.array_record.
    """

    def __init__(self, pattern: str) -> None:
        """`pattern` is a glob, or a folder that `tokjax prepare` wrote."""
        self.paths = _shards(pattern)
        if not self.paths:
            raise DataError(f"no file matches {pattern}; an array_record stream takes a glob such as DIR/*.array_record")
        if not len(self):
            raise DataError(f"the {len(self.paths)} shards that match {pattern} hold no record")

    @cached_property
    def _reader(self) -> Any:
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        return _opened(ArrayRecordDataSource, self.paths)

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths}  # a worker opens its own files

    def __len__(self) -> int:
        return len(self._reader)

    def record(self, index: int) -> Record:
        try:
            return unpack(self._reader[index])
        except BadRecord as error:
            error.id = f"record {index}"
            raise
        except RuntimeError as error:
            raise BadRecord(f"cannot be read from its shard: {_first_line(error)}", f"record {index}") from error

    def fingerprint(self) -> str:
        """Of names and sizes, and of the contents where a manifest tells their digest."""
        from etils import epath

        sizes = [(epath.Path(path).name, epath.Path(path).stat().length) for path in self.paths]
        contents = _told_fingerprint(epath.Path(self.paths[0]).parent / MANIFEST)
        return _digest([*sizes, ("records", len(self)), *([(contents, 0)] if contents else [])])

    def size(self) -> int:
        from etils import epath

        return sum(epath.Path(path).stat().length for path in self.paths)


def _told_fingerprint(manifest: Any) -> str:
    """The fingerprint in a manifest, "" where there is none. Raises DataError for a damaged one."""
    if not manifest.exists():
        return ""
    try:
        return str(json.loads(manifest.read_text(encoding="utf-8"))["fingerprint"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{manifest} is damaged, or not of `tokjax prepare`; copy or prepare the shards again") from error


def _shards(pattern: str) -> list[str]:
    """The files that match, here or in a bucket, but no manifest or list beside them."""
    from etils import epath

    folder = epath.Path(pattern)
    if folder.is_dir():
        pattern = os.fspath(folder / "*.array_record")
    if "://" in pattern:
        found = [os.fspath(path) for path in epath.Path(pattern).parent.glob(epath.Path(pattern).name)]
    else:
        found = glob.glob(pattern)
    return sorted(path for path in found if Path(path).name not in (MANIFEST, VERDICTS))


def _opened(open_all: Callable[[list[str]], Any], paths: list[str]) -> Any:
    """The reader of shards. Raises DataError, which names the first that is damaged."""
    try:
        return open_all(paths)
    except RuntimeError as error:
        if len(paths) > 1:
            for path in paths:
                _opened(open_all, [path])
        place = paths[0] if len(paths) == 1 else f"one of {paths[0]} and {len(paths) - 1} more"
        raise DataError(f"{place} is no ArrayRecord file, or damaged: {_first_line(error)}; copy or prepare it again") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _digest(entries: Iterable[tuple[str, int]]) -> str:
    digest = hashlib.sha256()
    for name, size in entries:
        digest.update(f"{name}\0{size}\n".encode(errors="surrogateescape"))  # names need not be Unicode
    return digest.hexdigest()
