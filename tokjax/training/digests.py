"""Digests of the files of a directory: written once they are all there, compared before any of them is believed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tokjax.training.workdir import flush, write_atomically

NAME = "digests.json"


def write_digests(directory: Path) -> None:
    """Puts every file below `directory` on the disk, then writes their sizes and SHA-256 digests into its `digests.json`."""
    files, digests = sorted(directory.rglob("*")), {}
    for path in files:
        flush(path)
        if path.is_file():
            digests[str(path.relative_to(directory))] = _digest(path)
    write_atomically(directory / NAME, json.dumps(digests, indent=0))


def find_damage(directory: Path) -> str | None:
    """Compares every file with its digest.

    Returns:
      None, or the first file that differs and how, as in "state/_METADATA has 10 bytes, but 812 were written".

    Raises:
      PermissionError: a file may not be read, which says nothing about its content.
    """
    name = NAME
    try:
        for name, expected in json.loads((directory / NAME).read_text()).items():
            found = _digest(directory / name)
            if found != expected:
                return f"{name} {_difference(expected, found)}"
    except PermissionError:
        raise
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    except ValueError:
        return f"{NAME} is not the file that was written"
    return None


def _digest(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    if expected.get("bytes") != found["bytes"]:
        return f"has {found['bytes']} bytes, but {expected.get('bytes')} were written"
    return "holds other bytes than were written"
