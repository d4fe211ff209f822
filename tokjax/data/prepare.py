"""Folders and tables of files become ArrayRecord shards: few large files instead of many small ones, read by position."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter
from tqdm import tqdm

from tokjax.data.decode import decode
from tokjax.data.sources import BadRecord, DataError, Source, open_source, pack


def prepare_array_records(stream: dict[str, Any], output: Path, shards: int) -> tuple[int, list[tuple[str, str]]]:
    """Packs a source into `output`, which appears whole or not at all.

    Records keep their order and ids. One that cannot be read or whose last frame cannot be decoded is left out.

    Args:
      stream: a plain dict with the keys of `tokjax.config.stream`; `kind`, `path` and `table` are used.
      output: a new folder, which gets KIND-00000-of-0000N.array_record.
      shards: how many files, N.

    Returns:
      (number of records written, (id, reason) of those left out).

    Raises:
      DataError: no record can be used, or `output` holds something already.
    """
    source = open_source(stream)
    if not 1 <= shards <= len(source):
        raise DataError(f"{len(source)} records cannot be put into {shards} shards; choose from 1 to {len(source)}")
    bad: list[tuple[str, str]] = []
    with new_folder(output) as folder, tqdm(total=len(source), desc="pack", unit=" records", disable=None) as bar:
        for shard in range(shards):
            path = folder / f"{stream['kind']}-{shard:05d}-of-{shards:05d}.array_record"
            ends = [len(source) * end // shards for end in (shard, shard + 1)]
            _write_shard(path, source, range(*ends), bad, bar)
        if len(bad) == len(source):
            raise DataError(f"no record of {stream['path']} can be used, the last is {': '.join(bad[-1])}")
    return len(source) - len(bad), bad


@contextlib.contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """A temporary folder beside `output` that takes its name when the block ends well, and is removed when it does not.

    Raises:
      DataError: `output` is there already and not an empty folder.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DataError(f"{output} already exists and is not empty; choose another --output or remove it")
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_shard(path: Path, source: Source, indices: range, bad: list[tuple[str, str]], bar: tqdm) -> None:
    """Writes the good ones of some records and adds the others to `bad`."""
    writer = ArrayRecordWriter(str(path), "group_size:1")  # each record can be read without its neighbours
    for index in indices:
        try:
            record = source.record(index)
            decode(record, lambda times: [len(times) - 1])
            writer.write(pack(record))
        except BadRecord as error:
            bad.append((error.id or record.id, str(error)))
        bar.update()
    writer.close()
