"""Folders, lists and data sets of TFDS become ArrayRecord shards: few large files, read by position, with a manifest.

What happens to a file (the row of `verdicts.jsonl` says it):

  kept              packed; its first and last frame could be decoded
  unreadable        neither its content nor its name makes a JPEG, PNG, WebP or a video, or it is damaged
  no video stream   sound only
  too short         no frame, or fewer than --min-frames
  too large         more than 8192x8192 pixels, or a side more than 64 times the other
  missing           a list names it, but it is not there
  duplicate         its bytes (and, of a video, the part that is meant) are those of an earlier record, or a list has it twice

OUT appears when all is written. A start after a kill, an error or a full disk keeps the shards that were finished.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from tokjax.data.folders import resumable_folder, write_whole
from tokjax.data.manifest import manifest
from tokjax.data.pool import Task, write_shards
from tokjax.data.records import DataError, Record
from tokjax.data.shards import KEPT, Rules, finished_rows, leave_out, verdicts_path
from tokjax.data.sources import MANIFEST, VERDICTS, FileSource, Source, open_source

SHARD_BYTES = 128 << 20  # of a shard, where their number is not given


class Prepared(NamedTuple):
    """Attributes:
    written: records in the shards.
    left_out: (id, verdict and reason) of the others.
    """

    written: int
    left_out: list[tuple[str, str]]


def prepare_array_records(
    stream: dict[str, Any], output: Path, shards: int = 0, *, workers: int = 1, rules: Rules | None = None, version: str = ""
) -> Prepared:
    """Packs a source into `output`: KIND-00000-of-0000N.array_record, manifest.json and verdicts.jsonl.

    Records keep their order and ids, whatever the number of workers. Of equal files the first is kept.

    Args:
      stream: a plain dict with the keys of `tokjax.config.stream`; `kind`, `path`, `table` and `split` are used.
      output: a new folder.
      shards: how many files, N; 0 makes files of about 128 MB.
      workers: processes.
      version: of tokjax, for the manifest.

    Raises:
      DataError: no record can be used, or `output` holds something already. OSError: as of a full disk.
    """
    rules, source = rules or Rules(), open_source(stream)
    shards = shards or max(1, min(len(source), source.size() // SHARD_BYTES))
    if not 1 <= shards <= len(source):
        raise DataError(f"{len(source)} records cannot be put into {shards} shards; choose from 1 to {len(source)}")
    plan = {"source": source.fingerprint(), "shards": shards, "rules": dataclasses.asdict(rules), "version": version}
    with resumable_folder(Path(output), plan) as folder:
        names = [f"{stream['kind']}-{number:05d}-of-{shards:05d}.array_record" for number in range(shards)]
        paths = [folder / name for name in names]
        _write_missing(source, paths, rules, workers)
        rows = _without_duplicates(paths)
        tell = partial(manifest, stream=stream, rules=rules, version=version)
        _finish(folder, paths, rows, source, stream["path"], tell)
    left_out = [row for part in rows for row in part if row["verdict"] != KEPT] + _left_out_of_list(source)
    written = sum(row["verdict"] == KEPT for part in rows for row in part)
    return Prepared(written, [(row["id"], f"{row['verdict']}: {row['reason']}") for row in left_out])


def _write_missing(source: Source, paths: list[Path], rules: Rules, workers: int) -> None:
    """Writes the shards that are not there yet, each from its part of the records."""
    tasks: list[Task] = []
    with tqdm(total=len(source), desc="prepare", unit=" records", disable=None) as bar:  # None: only on a terminal
        for number, path in enumerate(paths):
            indices = range(*(len(source) * end // len(paths) for end in (number, number + 1)))
            if finished_rows(path) is None:
                tasks.append((_part(source, indices), path))
            else:
                bar.update(len(indices))
        bar.unpause()  # so that the estimate of the time that is left counts from here
        write_shards(tasks, rules, workers, bar.update)


def _part(source: Source, indices: range) -> Source:
    return source.part(indices) if isinstance(source, FileSource) else _Part(source, indices)


class _Part:
    """Some records of a source that is small to send to a worker."""

    def __init__(self, source: Source, indices: range) -> None:
        self._source, self._indices = source, indices

    def __len__(self) -> int:
        return len(self._indices)

    def record(self, index: int) -> Record:
        return self._source.record(self._indices[index])


def _without_duplicates(paths: list[Path]) -> list[list[dict[str, Any]]]:
    """The verdicts of all shards, after records that are like an earlier one were taken out."""
    first: dict[str, str] = {}
    rows = []
    for path in paths:
        before = finished_rows(path)
        after = [_judged_again(row, first) for row in before]
        if after != before:
            leave_out(path, after)
        rows.append(after)
    return rows


def _judged_again(row: dict[str, Any], first: dict[str, str]) -> dict[str, Any]:
    if row["verdict"] != KEPT:
        return row
    if row["digest"] not in first:
        first[row["digest"]] = row["id"]
        return row
    return {
        "id": row["id"],
        "digest": row["digest"],
        "verdict": "duplicate",
        "reason": f"has the bytes of {first[row['digest']]}",
    }


def _left_out_of_list(source: Source) -> list[dict[str, Any]]:
    rows = source.listing.left_out if isinstance(source, FileSource) else []
    return [{"id": name, "verdict": verdict, "reason": reason} for name, verdict, reason in rows]


def _finish(
    folder: Path,
    paths: list[Path],
    parts: list[list[dict[str, Any]]],
    source: Source,
    place: str,
    manifest_of: Callable[..., dict[str, Any]],
) -> None:
    """Manifest and log in place of the verdicts of each shard."""
    rows = [row for part in parts for row in part] + _left_out_of_list(source)
    if not any(row["verdict"] == KEPT for row in rows):
        last = rows[-1]
        raise DataError(f"no record of {place} can be used, the last is {last['id']}: {last['reason']}")
    counts = [sum(row["verdict"] == KEPT for row in part) for part in parts]
    sizes = [path.stat().st_size for path in paths]
    files = [{"name": path.name, "records": n, "bytes": size} for path, n, size in zip(paths, counts, sizes, strict=True)]
    classes = source.listing.classes if isinstance(source, FileSource) else []
    content = manifest_of(rows, files, source_fingerprint=source.fingerprint(), classes=classes)
    write_whole(folder / VERDICTS, "".join(json.dumps(row) + "\n" for row in rows))
    write_whole(folder / MANIFEST, json.dumps(content, indent=2) + "\n")
    for path in paths:
        verdicts_path(path).unlink()
