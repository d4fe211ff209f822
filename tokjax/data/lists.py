"""What a folder holds, and what a list names: VidTok's and Kinetics' tables, lists of OmniTokenizer, ImageNet and UCF-101.

A list that ends in .csv has a header: a column `videos` (or `images`) of paths, or Kinetics' youtube_id, time_start and
time_end. Any other, and one with tabs, has a path a line, with or without a class number after it. Paths are below the data
folder; an absolute one or one with ".." is refused with the whole list, so nothing outside is read. A link inside the folder is
followed, as data sets are often put together from links.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from tokjax.data.records import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")
SUFFIXES = {"images": IMAGE_SUFFIXES, "videos": VIDEO_SUFFIXES}
_KINETICS = ("youtube_id", "time_start", "time_end")


class Entry(NamedTuple):
    """One file, or a part of one; `path` is below the data folder, the rest as in `tokjax.data.records.Record`."""

    path: str
    id: str
    label: int | None = None
    begin: float = 0.0
    end: float = math.inf


class Listing(NamedTuple):
    """Attributes:
    entries: what there is, in the order of the list, or of the paths.
    classes: the names of labels 0, 1, ...; empty where labels have no names.
    left_out: (id, verdict, reason) of what a list names twice, or without such a file.
    """

    entries: list[Entry]
    classes: list[str]
    left_out: list[tuple[str, str, str]]


def list_folder(root: Path, kind: str) -> Listing:
    """The media of a kind below a folder, hidden files left out, in an order that is the same everywhere.

    A file's class is its folder, as of ImageNet and UCF-101, where no file lies in `root` itself.

    Raises:
      DataError: there is none.
    """
    paths = _below(root, SUFFIXES[kind])
    if not paths:
        raise DataError(f"no usable file below {root}; looked for {' '.join(suffix[1:] for suffix in SUFFIXES[kind])}")
    return _labelled_by_folder(paths, [])


def list_table(root: Path, table: Path, kind: str) -> Listing:
    """What a list names.

    Raises:
      DataError: no such list, none of these formats, a path outside of `root`, or not one of its files is there.
    """
    if not table.is_file():
        raise DataError(f"the table {table} does not exist; check the stream's `table`")
    text = _text(table)
    if table.suffix.lower() != ".csv" or "\t" in text.partition("\n")[0]:
        return _plain(root, table, kind, text)
    columns, rows = _table(table, text)
    if all(name in columns for name in _KINETICS):
        return _kinetics(root, table, rows)
    if kind not in columns:
        raise DataError(
            f"the table {table} has no column {kind!r}; it has {', '.join(map(repr, columns)) or 'none'}, and a table of "
            f"Kinetics would have {', '.join(_KINETICS)}"
        )
    whole = [row for row in rows if None not in row and all(row[name] and row[name].strip() for name in columns)]
    names = [row[kind].strip() for row in whole]
    return _labelled_by_folder(*_once(_inside(root, table, names)))


def _table(table: Path, text: str) -> tuple[list[str], list[dict[str, Any]]]:
    """The columns of a .csv, and its rows."""
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        columns = reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
        return columns, list(reader)
    except csv.Error as error:
        sentence = f"the table {table} is damaged near its line {reader.line_num}: {error}; is a quotation mark missing?"
        raise DataError(sentence) from error


def _text(table: Path) -> str:
    """UTF-8 where it is that, else ISO-8859-1, as which VidTok reads its tables."""
    content = table.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("iso-8859-1")


def _below(root: Path, suffixes: tuple[str, ...]) -> list[str]:
    paths = (PurePosixPath(path) for path in files_below(root))
    return sorted(path.as_posix() for path in paths if path.suffix.lower() in suffixes)


def files_below(root: Path) -> Iterator[str]:
    """Paths of all files below a folder, relative to it; hidden files and folders are left out, links followed once around."""
    inside = {str(root): {os.path.realpath(root)}}  # by folder, where it and those that it lies in really are
    for folder, names, files in os.walk(root, followlinks=True):
        above = inside.pop(folder)
        real = {name: os.path.realpath(os.path.join(folder, name)) for name in names if not name.startswith(".")}
        names[:] = [name for name, path in real.items() if path not in above]
        inside |= {os.path.join(folder, name): above | {real[name]} for name in names}
        below = Path(folder).relative_to(root)
        shown = (name for name in files if not name.startswith(".") and os.path.isfile(os.path.join(folder, name)))
        yield from ((below / name).as_posix() for name in shown)


def _labelled_by_folder(paths: Sequence[str], left_out: list[tuple[str, str, str]]) -> Listing:
    """A label is the place of the innermost folder's name among all such names."""
    folders = [PurePosixPath(path).parent.name for path in paths]
    if not all(folders):
        return Listing([Entry(path, path) for path in paths], [], left_out)
    classes = sorted(set(folders))
    labels = {name: number for number, name in enumerate(classes)}
    entries = [Entry(path, path, labels[folder]) for path, folder in zip(paths, folders, strict=True)]
    return Listing(entries, classes, left_out)


def _plain(root: Path, table: Path, kind: str, text: str) -> Listing:
    """Lines `path`, `path label` or `path<TAB>label`; the class of a video is its folder, as OmniTokenizer has it."""
    lines = [_split(line) for line in text.splitlines() if line.strip()]
    names, left_out = _once(_inside(root, table, [name for name, _ in lines]))
    if kind == "videos":
        return _labelled_by_folder(names, left_out)
    labels = dict(reversed(lines))
    return Listing([Entry(name, name, labels[name]) for name in names], [], left_out)


def _split(line: str) -> tuple[str, int | None]:
    name, tab, label = line.partition("\t")
    if not tab:
        found = re.fullmatch(r"(.*\S)\s+(\d+)\s*", line)
        name, label = found.groups() if found else (line, "")
    label = label.partition("\t")[0].strip()
    return name.strip(), int(label) if label.isdecimal() else None


def _inside(root: Path, table: Path, names: list[str]) -> list[str]:
    """The names, after a look at where they lead."""
    outside = [name for name in names if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name]
    if outside:
        raise DataError(f"the table {table} names {outside[0]!r}, but its paths must lie below {root}: not absolute, no '..'")
    if not any((root / name).is_file() for name in names):
        first = f"the first of its {len(names)} paths is {names[0]!r}" if names else "it has no row without missing values"
        raise DataError(f"no usable file of the table {table} lies below {root}: {first}")
    return names


def _once(names: Iterable[str]) -> tuple[list[str], list[tuple[str, str, str]]]:
    seen: dict[str, None] = {}
    left_out = []
    for name in names:
        if name in seen:
            left_out.append((name, "duplicate", "is listed more than once"))
        seen[name] = None
    return list(seen), left_out


def _kinetics(root: Path, table: Path, rows: list[dict[str, Any]]) -> Listing:
    """Files are looked for in all folders below `root`: ID_BEGIN_END.* with six digits each, which are cut already, then ID.*."""
    stems: dict[str, list[str]] = {}
    for path in _below(root, VIDEO_SUFFIXES):
        stems.setdefault(PurePosixPath(path).stem, []).append(path)
    classes = sorted({(row.get("label") or "").strip() for row in rows} - {""})
    numbers = {name: number for number, name in enumerate(classes)}
    found: dict[str, Entry] = {}
    left_out = []
    for row in rows:
        try:
            entry = _part(stems, row, numbers)
        except LookupError as error:
            left_out.append((str(row["youtube_id"]), "missing", str(error.args[0])))
            continue
        if entry.id in found:
            left_out.append((entry.id, "duplicate", "is listed more than once"))
        found.setdefault(entry.id, entry)
    if not found:
        first = f"the first is {left_out[0][0]!r}" if left_out else "it has no row"
        raise DataError(f"no video of the {len(rows)} rows of the table {table} lies below {root}: {first}")
    return Listing(list(found.values()), classes, left_out)


def _part(stems: dict[str, list[str]], row: dict[str, Any], numbers: dict[str, int]) -> Entry:
    """The file of a row, and the seconds to take from it. Raises LookupError where there is none."""
    name, label = (row["youtube_id"] or "").strip(), (row.get("label") or "").strip()
    try:
        begin, end = float(row["time_start"]), float(row["time_end"])
    except (TypeError, ValueError):
        raise LookupError("has no times") from None
    if not 0 <= begin < end < math.inf:
        raise LookupError(f"has the times {begin:g} to {end:g}")
    cut = f"{name}_{int(begin):06d}_{int(end):06d}"
    for stem in (cut, name):
        folders = (label, label.replace(" ", "_"))
        paths = sorted(stems.get(stem, []), key=lambda path: PurePosixPath(path).parent.name not in folders)
        if paths:
            part = () if stem == cut else (begin, end)
            return Entry(paths[0], paths[0] + (f"@{begin:g}-{end:g}" if part else ""), numbers.get(label), *part)
    raise LookupError(f"there is neither a file {cut}.* nor {name}.*")
