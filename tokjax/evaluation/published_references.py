"""References as others publish them: moments `mu` and `sigma` in an .npz (pytorch-fid), and images beside them (ADM, `arr_0`)."""

from __future__ import annotations

import dataclasses
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from tokjax.data.sources import DataError
from tokjax.evaluation.clips import ahead, batched, fitted, sha256_of
from tokjax.evaluation.frechet import Gaussian
from tokjax.evaluation.protocols import Protocol

_IMAGES = "arr_0.npy"


@dataclasses.dataclass(frozen=True)
class Published:
    """Such a file.

    Attributes:
    moments: of all that the file is about; None where it has none.
    shape: of the images in it, (n,h,w,3); None where it has none.
    """

    path: Path
    moments: Gaussian | None
    shape: tuple[int, ...] | None

    def ids(self) -> list[str]:
        """Names of the images: their numbers, of one length."""
        return [f"{number:09d}" for number in range(self.shape[0])] if self.shape else []

    def fingerprint(self) -> str:
        """A sha256 over the file."""
        return sha256_of(self.path)


class PublishedClips:
    """Batches of the images in such a file that are not done, as Clips has them; the file is read as a stream.

    Attributes:
      bad: none; a file that is damaged is refused as a whole.
    """

    def __init__(self, source: Published, protocol: Protocol, batch: int, done: Collection[str] = ()) -> None:
        self.bad: list[dict[str, str]] = []
        self._source, self._protocol, self._batch, self._done = source, protocol, batch, set(done)

    def __iter__(self) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
        """Raises DataError: a damaged file."""
        yield from ahead(batched(self._each(), self._batch))

    def _each(self) -> Iterator[tuple[str, np.ndarray]]:
        for id, image in zip(self._source.ids(), self._images(), strict=True):
            if id not in self._done:
                yield id, fitted(image, self._protocol)[None]

    def _images(self) -> Iterator[np.ndarray]:
        path, (count, *shape) = self._source.path, self._source.shape
        size = int(np.prod(shape))
        try:
            with zipfile.ZipFile(path) as archive, archive.open(_IMAGES) as file:
                _header(file)
                for _ in range(count):
                    yield np.frombuffer(file.read(size), np.uint8).reshape(shape)
        except (zipfile.BadZipFile, zlib.error, ValueError, EOFError) as error:
            raise DataError(f"{path} is damaged: {error}") from error


def published(path: Path) -> Published | None:
    """The file as one of those; None where it is none of them.

    Raises:
      DataError: images that are not uint8 [n,h,w,3], or moments that do not fit together.
    """
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            shape = None
            if _IMAGES in names:
                with archive.open(_IMAGES) as file:
                    shape = _header(file)
        moments = _moments(path) if {"mu.npy", "sigma.npy"} <= names else None
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return Published(path, moments, shape) if moments or shape else None


def _moments(path: Path) -> Gaussian:
    with np.load(path, allow_pickle=False) as file:
        mean, covariance = (file[name].astype(np.float64) for name in ("mu", "sigma"))
    if mean.ndim != 1 or covariance.shape != mean.shape * 2:
        raise ValueError(f"its mu {mean.shape} and sigma {covariance.shape} are not the moments of one set")
    return Gaussian(mean, covariance)


def _header(file: IO[bytes]) -> tuple[int, ...]:
    """The shape of the array that follows in a file. Raises ValueError where it is no array of images."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if len(shape) != 4 or shape[-1] != 3 or dtype != np.uint8 or fortran or not all(shape):
        raise ValueError(f"its arr_0 is {dtype} {shape}, where images uint8 [n,h,w,3] belong")
    return shape
