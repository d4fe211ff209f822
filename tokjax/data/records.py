"""One record: an encoded image or video with its name, in memory and as the bytes of a shard."""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from typing import Any


class DataError(ValueError):
    """Data that a run cannot go on with; the message is one sentence for the user."""


class BadRecord(Exception):
    """One record that cannot be used.

    Attributes:
      id: the record's, where that is known.
      verdict: "unreadable", "no video stream", "too short", "shorter than a clip", "too large", "missing" or
        "duplicate"; the message tells more.
    """

    def __init__(self, reason: str, id: str = "", verdict: str = "unreadable") -> None:
        super().__init__(reason)
        self.id, self.verdict = id, verdict


@dataclasses.dataclass(frozen=True)
class Record:
    """One encoded image or video.

    Attributes:
      id: its path below the stream's folder, in posix form, and "@BEGIN-END" where only a part of the file is meant.
      kind: "image" or "video".
      media: the file's bytes.
      label: the number of its class, where it has one.
      begin, end: the part of a video that is meant, in seconds after its first frame.
    """

    id: str
    kind: str
    media: bytes
    label: int | None = None
    begin: float = 0.0
    end: float = math.inf


def printable(name: str) -> str:
    """A name of a file as it can be printed, also where it is not Unicode."""
    return name.encode(errors="backslashreplace").decode()


def pack(record: Record) -> bytes:
    """A record as bytes: the header's length (4, little-endian), a JSON header, the media."""
    fields: dict[str, Any] = {"id": record.id, "kind": record.kind}
    if record.label is not None:
        fields["label"] = record.label
    if record.begin or record.end < math.inf:
        fields |= {"begin": record.begin, "end": record.end if record.end < math.inf else None}
    header = json.dumps(fields).encode()
    return struct.pack("<I", len(header)) + header + record.media


def unpack(packed: bytes) -> Record:
    """The record of `pack`. Raises BadRecord for bytes that are none."""
    try:
        stop = 4 + struct.unpack_from("<I", packed)[0]
        header = json.loads(packed[4:stop])
        end = header.get("end")
        part = header.get("begin", 0.0), math.inf if end is None else end
        return Record(header["id"], header["kind"], packed[stop:], header.get("label"), *part)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadRecord("is not a record written by `tokjax prepare`") from error
