"""One shard: records looked at, perhaps encoded again, and packed; beside it a list of verdicts, which says it is finished."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
from collections.abc import Callable
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
    partial, rows = path.with_name(f".{path.name}.writing"), []
    writer = ArrayRecordWriter(str(partial), _OPTIONS)
    try:
        for index in range(len(source)):
            record, row = _judge(source, index, rules)
            if record is not None:
                writer.write(pack(record))
            rows.append(row)
            tick()
    finally:
        _close(writer, partial)
    _check_written(partial, sum(row["verdict"] == KEPT for row in rows))
    partial.replace(path)
    _write_rows(path, rows)


def finished_rows(path: Path) -> list[dict[str, Any]] | None:
    """The verdicts of a shard that is there and whole, None of any other."""
    if not path.is_file() or not verdicts_path(path).is_file():
        return None
    rows = [json.loads(line) for line in verdicts_path(path).read_text(encoding="utf-8").splitlines()]
    return rows if _count(path) == sum(row["verdict"] == KEPT for row in rows) else None


def leave_out(path: Path, rows: list[dict[str, Any]]) -> None:
    """Takes the records out of a finished shard whose verdict has become another than "kept" in `rows`."""
    before, partial = finished_rows(path), path.with_name(f".{path.name}.writing")
    still = [new["verdict"] == KEPT for old, new in zip(before, rows, strict=True) if old["verdict"] == KEPT]
    reader = ArrayRecordReader(str(path))
    writer = ArrayRecordWriter(str(partial), _OPTIONS)
    try:
        for position, keep in enumerate(still):
            if keep:
                writer.write(reader.read([position])[0])
    finally:
        reader.close()
        _close(writer, partial)
    _check_written(partial, sum(still))
    verdicts_path(path).unlink()  # a kill between here and the end lets the shard be written anew
    partial.replace(path)
    _write_rows(path, rows)


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
