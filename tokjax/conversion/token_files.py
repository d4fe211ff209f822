"""Token files: the tokens of a video of any length in one .npz, written and read part by part.

The members `indices_000000`, `indices_000001`, ... hold codes int32 [t',h',w'], or [t',h',w',n] of n codebooks, where they are
continuous `latents_...` values float32 [t',h',w',c], one part of the video after the other. All of them in memory:

    with np.load("tokens.npz") as file:
        indices = np.concatenate([file[name] for name in sorted(file.files) if name.startswith("indices_")])

The other members are those of `TokenHeader`, and `parts`, their number.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from tokjax.conversion.package import digest
from tokjax.models.tokenizer import Tokenizer
from tokjax.training.workdir import flush

PART_VALUES = 2**20  # in a member, so that neither one part nor the table of contents of a long video is large

# What numpy, zipfile and zlib raise for bytes that are no .npz, or not the ones that were written.
_NO_TOKENS = (ValueError, KeyError, TypeError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error)


class TokenFileError(ValueError):
    """A token file that cannot be read, or belongs to another model."""


@dataclasses.dataclass(frozen=True)
class TokenHeader:
    """What it takes to give back the video.

    Attributes:
      frames, height, width: of the video.
      frame_rate: frames per second; 0 marks an image.
      front: copies of the first frame that were encoded before the video.
      clip_frames: frames that were encoded on their own, clip by clip; 0 where all is one stream.
      model: digest of the model that made the tokens.
    """

    frames: int
    height: int
    width: int
    frame_rate: float
    front: int
    clip_frames: int
    model: str


def write_tokens(path: Path, parts: Iterable[np.ndarray], header: Callable[[], TokenHeader]) -> int:
    """Writes a token file, whole or not at all, while its tokens are made.

    Args:
      parts: codes or latents of a video, in any portions of time.
      header: asked when all parts have come, since only then is the length known.

    Returns:
      How many values it holds.
    """
    values, count = 0, 0
    # A ZipFile that opens the file itself complains on stderr when a signal ends it right then.
    with _whole_or_nothing(path) as partial, open(partial, "wb") as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as file:
        for count, part in enumerate(_for_members(parts), start=1):
            _put(file, f"{'indices' if part.dtype.kind == 'i' else 'latents'}_{count - 1:06d}", part)
            values += part.size
        for name, value in (dataclasses.asdict(header()) | {"parts": count}).items():
            _put(file, name, np.asarray(value))
    return values


def _for_members(parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    parts = iter(parts)
    first = next(parts)
    return regrouped(itertools.chain([first], parts), max(1, PART_VALUES // first[0].size))


def regrouped(parts: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same values in parts of `size` along the first axis; the last may be shorter."""
    waiting, count = [], 0
    for part in parts:
        waiting.append(part)
        count += len(part)
        if count >= size:
            joined, whole = np.concatenate(waiting), count // size * size
            yield from np.split(joined[:whole], whole // size)
            waiting, count = [joined[whole:]], count - whole
    if count:
        yield np.concatenate(waiting)


def _put(file: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with file.open(f"{name}.npy", "w") as member:
        np.lib.format.write_array(member, array, allow_pickle=False)


@contextlib.contextmanager
def _whole_or_nothing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, which becomes `path` at the end, and is removed after an error."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        flush(partial)
        partial.replace(path)
        flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def read_tokens(path: Path, tokenizer: Tokenizer) -> tuple[TokenHeader, Iterator[np.ndarray]]:
    """The header of a token file that this tokenizer made, and its parts, which are read as they are asked for.

    Raises:
      TokenFileError: no token file, or another model's; damage to a part shows when it is read. OSError.
    """
    with open(path, "rb") as raw, _damage_named(path), zipfile.ZipFile(raw) as file:
        header = TokenHeader(**{field.name: _get(file, field.name).item() for field in dataclasses.fields(TokenHeader)})
        names = sorted(name.removesuffix(".npy") for name in file.namelist() if name.startswith(("indices_", "latents_")))
        kind = names[0].partition("_")[0] if names else "indices"
        if not names or names != [f"{kind}_{number:06d}" for number in range(_get(file, "parts").item())]:
            raise KeyError("a part is missing")
    if header.model != digest(tokenizer):
        raise TokenFileError(f"the tokens in {path} were made by another model; decode them with the model that encoded them")
    return header, _read_parts(path, names)


def _read_parts(path: Path, names: list[str]) -> Iterator[np.ndarray]:
    with open(path, "rb") as raw:
        with _damage_named(path):
            file = zipfile.ZipFile(raw)
        for name in names:
            with _damage_named(path):
                part = _get(file, name)
            yield part


def _get(file: zipfile.ZipFile, name: str) -> np.ndarray:
    # All bytes first, which checks them, before numpy believes what they say of shapes.
    return np.lib.format.read_array(io.BytesIO(file.read(f"{name}.npy")), allow_pickle=False)


@contextlib.contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except _NO_TOKENS as error:
        raise TokenFileError(f"{path} is not a token file written by `tokjax encode`, or it is damaged") from error
