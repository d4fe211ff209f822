"""One shard: records looked at, perhaps encoded again, and packed; beside it a list of verdicts, which says it is finished."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from tokjax.data.examine import examine
from tokjax.data.folders import write_whole
from tokjax.data.records import BadRecord, Record, pack
from tokjax.data.reencode import Encoding, reencode
from tokjax.data.sources import Source

KEPT = "kept"
_OPTIONS = "group_size:1,uncompressed"  # each record can be read without its neighbours; media are compressed already


@dataclasses.dataclass(frozen=True)
class Rules:
    """Attributes:
    encoding: how media are encoded again, if at all.
    min_frames: videos with fewer are left out.
    """

    encoding: Encoding = Encoding()  # noqa: RUF009 (it is frozen)
    min_frames: int = 1


def write_shard(source: Source, path: Path, rules: Rules, tick: Callable[[], None]) -> None:
    """Packs all records of a source into a file that appears whole, and then its verdicts into `verdicts_path(path)`.

    Args:
      tick: called after each record.

    Raises:
      OSError: as of a full disk.
    """
    rows = []
    with new_shard(path) as write:
        for index in range(len(source)):
            record, row = _judge(source, index, rules)
            if record is not None:
                write(pack(record))
            rows.append(row)
            tick()
    _write_rows(path, rows)


@contextlib.contextmanager
def new_shard(path: Path, options: str = _OPTIONS) -> Iterator[Callable[[bytes], None]]:
    """What adds a record to a file, which appears when the block ends well and all its records are on the disk.

    Raises:
      OSError: as of a full disk.
    """
    partial, count = path.with_name(f".{path.name}.writing"), 0
    writer = ArrayRecordWriter(str(partial), options)

    def write(packed: bytes) -> None:
        nonlocal count
        writer.write(packed)
        count += 1

    try:
        yield write
    finally:
        _close(writer, partial)
    _check_written(partial, count)
    partial.replace(path)


def finished_rows(path: Path) -> list[dict[str, Any]] | None:
    """The verdicts of a shard that is there and whole, None of any other."""
    if not path.is_file() or not verdicts_path(path).is_file():
        return None
    rows = [json.loads(line) for line in verdicts_path(path).read_text(encoding="utf-8").splitlines()]
    return rows if _count(path) == sum(row["verdict"] == KEPT for row in rows) else None


def leave_out(path: Path, rows: list[dict[str, Any]]) -> None:
    """Takes the records out of a finished shard whose verdict has become another than "kept" in `rows`."""
    before = finished_rows(path)
    still = [new["verdict"] == KEPT for old, new in zip(before, rows, strict=True) if old["verdict"] == KEPT]
    with contextlib.closing(ArrayRecordReader(str(path))) as reader, new_shard(path) as write:
        for position, keep in enumerate(still):
            if keep:
                write(reader.read([position])[0])
    _write_rows(path, rows)  # after a kill before this, the old verdicts count other records, so the shard is written anew


def verdicts_path(path: Path) -> Path:
    """Of a shard, while a data set is being prepared."""
    return path.with_name(f"{path.name}.jsonl")


def _judge(source: Source, index: int, rules: Rules) -> tuple[Record | None, dict[str, Any]]:
    """The record to be written, if any, and its row of the log."""
    try:
        record = source.record(index)
    except BadRecord as error:
        return None, {"id": error.id, "verdict": error.verdict, "reason": str(error)}
    row: dict[str, Any] = {"id": record.id, "label": record.label, "digest": _digest(record)}
    try:
        facts = examine(record, rules.min_frames)
        if rules.encoding:
            record = reencode(record, rules.encoding)
            facts = examine(record)
        return record, row | {"verdict": KEPT, "bytes": len(record.media), **facts._asdict()}
    except BadRecord as error:
        return None, row | {"verdict": error.verdict, "reason": str(error)}


def _digest(record: Record) -> str:
    """Of the bytes as they were found and the part that is meant; files with equal ones are duplicates."""
    digest = hashlib.sha256(record.media)
    digest.update(f"{record.begin}-{record.end}".encode())
    return digest.hexdigest()


def _close(writer: ArrayRecordWriter, partial: Path) -> None:
    """The writer keeps errors of the disk to itself until it is closed."""
    try:
        writer.close()
    except RuntimeError as error:
        raise _failed(partial, str(error)) from error


def _check_written(partial: Path, records: int) -> None:
    """Reads back how many records there are, after the file has reached the disk."""
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if _count(partial) != records:
        raise _failed(partial, f"{_count(partial)} of {records} records were written")


def _failed(partial: Path, reason: str) -> OSError:
    reason = f"writing a shard failed ({reason.splitlines()[0]}); is the disk full? The same command continues"
    return OSError(errno.EIO, reason, str(partial))


def _count(path: Path) -> int:
    """Records in a file, -1 where it is none."""
    try:
        reader = ArrayRecordReader(str(path))
        count = reader.num_records()
        reader.close()
        return count
    except (RuntimeError, ValueError, OSError):
        return -1


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    write_whole(verdicts_path(path), "".join(json.dumps(row) + "\n" for row in rows))
