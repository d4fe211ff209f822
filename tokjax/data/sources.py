"""Where records lie: folders of images, folders or tables of videos, and ArrayRecord shards, all read by position.

A record is one encoded file. Its id does not change when others are added, and a source's fingerprint changes when they are.
"""

from __future__ import annotations

import csv
import dataclasses
import glob
import hashlib
import json
import struct
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")


class DataError(ValueError):
    """Data that a run cannot go on with; the message is one sentence for the user."""


class BadRecord(Exception):
    """One record that cannot be used; the message is the reason, `id` the record's, where that is known."""

    def __init__(self, reason: str, id: str = "") -> None:
        super().__init__(reason)
        self.id = id


@dataclasses.dataclass(frozen=True)
class Record:
    """One encoded image or video.

    Attributes:
      id: its path below the stream's folder, in posix form.
      kind: "image" or "video".
      media: the file's bytes.
    """

    id: str
    kind: str
    media: bytes


class Source(Protocol):
    """Records by position."""

    def __len__(self) -> int: ...

    def record(self, index: int) -> Record:
        """Reads one record. Raises BadRecord where it cannot be read."""

    def fingerprint(self) -> str:
        """A sha256 over what the source consists of, from names and sizes, without reading media."""


def open_source(stream: dict[str, Any]) -> Source:
    """The source of a stream.

    Args:
      stream: a plain dict with the keys of `tokjax.config.stream`; `kind`, `path` and `table` are used.

    Raises:
      DataError: nothing is there to read.
    """
    if stream["kind"] == "array_record":
        return ShardSource(stream["path"])
    root = Path(stream["path"])
    if not root.is_dir():
        raise DataError(f"the data folder {root} does not exist; check the stream's path")
    if stream["kind"] == "images":
        return FileSource(root, _below(root, IMAGE_SUFFIXES), "image")
    ids = _listed(root, Path(stream["table"])) if stream.get("table") else _below(root, VIDEO_SUFFIXES)
    return FileSource(root, ids, "video")


class OpenOnce:
    """`open_source` for a process that reads the same streams again and again: each source is searched for files once."""

    def __init__(self) -> None:
        self._opened: dict[tuple[str, str, str], Source] = {}

    def __call__(self, stream: dict[str, Any]) -> Source:
        """As `open_source`."""
        place = stream["kind"], stream["path"], stream.get("table", "")
        if place not in self._opened:
            self._opened[place] = open_source(stream)
        return self._opened[place]


def _below(root: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Paths of the files with one of these suffixes, hidden ones left out, in an order that is the same everywhere."""
    paths = (path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    ids = sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))
    if not ids:
        raise DataError(f"no usable file below {root}; looked for {' '.join(suffix[1:] for suffix in suffixes)}")
    return ids


def _listed(root: Path, table: Path) -> list[str]:
    """Paths in the table's column `videos`, as VidTok reads it: ISO-8859-1, rows with a missing value dropped."""
    if not table.is_file():
        raise DataError(f"the table {table} does not exist; check the stream's `table`")
    with open(table, encoding="iso-8859-1", newline="") as file:
        rows = csv.DictReader(file)
        columns = [name.strip() for name in rows.fieldnames or []]
        if "videos" not in columns:
            raise DataError(f"the table {table} has no column 'videos'; it has {', '.join(map(repr, columns)) or 'none'}")
        rows.fieldnames = columns
        ids = [row["videos"].strip() for row in rows if all(row[name] and row[name].strip() for name in columns)]
    outside = [name for name in ids if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if outside:
        raise DataError(f"the table {table} names {outside[0]!r}, but its paths must lie below {root}: not absolute, no '..'")
    if not any((root / name).is_file() for name in ids):
        first = f"the first of its {len(ids)} paths is {ids[0]!r}" if ids else "it has no row without missing values"
        raise DataError(f"no usable file of the table {table} lies below {root}: {first}")
    return ids


class FileSource:
    """Files below a folder, read when asked for."""

    def __init__(self, root: Path, ids: Sequence[str], kind: str) -> None:
        self.root, self.ids, self.kind = root, ids, kind

    def __len__(self) -> int:
        return len(self.ids)

    def record(self, index: int) -> Record:
        name = self.ids[index]
        try:
            return Record(name, self.kind, (self.root / name).read_bytes())
        except OSError as error:
            raise BadRecord(f"cannot be read: {error.strerror}", name) from error

    def fingerprint(self) -> str:
        paths = (self.root / name for name in self.ids)
        return _digest((name, path.stat().st_size if path.is_file() else -1) for name, path in zip(self.ids, paths, strict=True))


class ShardSource:
    """ArrayRecord shards written by `tokjax prepare`: each record is a packed id, kind and media."""

    def __init__(self, pattern: str) -> None:
        self.paths = sorted(glob.glob(pattern))
        if not self.paths:
            raise DataError(f"no file matches {pattern}; an array_record stream takes a glob such as DIR/*.array_record")
        if not len(self):
            raise DataError(f"the {len(self.paths)} shards that match {pattern} hold no record")

    @cached_property
    def _reader(self) -> Any:
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        return ArrayRecordDataSource(self.paths)

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

    def fingerprint(self) -> str:
        sizes = [(Path(path).name, Path(path).stat().st_size) for path in self.paths]
        return _digest([*sizes, ("records", len(self))])


def pack(record: Record) -> bytes:
    """A record as bytes: the header's length (4, little-endian), a JSON header, the media."""
    header = json.dumps({"id": record.id, "kind": record.kind}).encode()
    return struct.pack("<I", len(header)) + header + record.media


def unpack(packed: bytes) -> Record:
    """The record of `pack`. Raises BadRecord for bytes that are none."""
    try:
        end = 4 + struct.unpack_from("<I", packed)[0]
        header = json.loads(packed[4:end])
        return Record(header["id"], header["kind"], packed[end:])
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise BadRecord("is not a record written by `tokjax prepare`") from error


def _digest(entries: Iterable[tuple[str, int]]) -> str:
    digest = hashlib.sha256()
    for name, size in entries:
        digest.update(f"{name}\0{size}\n".encode())
    return digest.hexdigest()
