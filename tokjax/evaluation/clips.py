"""Files become the clips of a protocol: which frames, in which size. Videos are read as a stream, never whole."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
from PIL import Image

from tokjax.data.decode import count_frames, read_image, read_video
from tokjax.data.lists import files_below
from tokjax.data.sources import DataError
from tokjax.data.transforms import centre_crop
from tokjax.evaluation.protocols import Protocol

T = TypeVar("T")
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclasses.dataclass(frozen=True)
class Files:
    """The media of an evaluation: `ids` are their paths below `root`, `kind` is "image" or "video"."""

    root: Path
    ids: list[str]
    kind: str

    def __len__(self) -> int:
        return len(self.ids)

    def fingerprint(self) -> str:
        """A sha256 over names and sizes; over the contents of arrays too, whose size is that of all arrays of a shape."""
        total = hashlib.sha256()
        for name in self.ids:
            path = self.root / name
            content = sha256_of(path) if path.suffix.lower() == ".npy" else ""
            total.update(f"{name}\0{path.stat().st_size}{content}\n".encode(errors="surrogateescape"))
        return total.hexdigest()


def sha256_of(path: Path) -> str:
    """Of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def names_below(root: Path, suffixes: Collection[str]) -> list[str]:
    """The files below a folder whose names end so, hidden ones left out and links followed, in order."""
    return sorted(name for name in files_below(root) if PurePosixPath(name).suffix.lower() in suffixes)


@dataclasses.dataclass(frozen=True)
class Footage:
    """A file's frames, uint8 [h,w,3] or floats -1..1, read once; how many it announces; frames per second, 0 of what has none."""

    frames: Iterator[np.ndarray]
    count: int
    rate: float


def opened(path: Path, kind: str) -> Footage:
    """An image, a video, or an array .npy [t,h,w,3] of uint8 or of floats -1..1.

    Raises:
      DataError: not of that kind, or damaged; floats out of range or not finite. OSError.
    """
    if path.suffix.lower() == ".npy":
        array = read_array(path)
        return Footage(iter(array), len(array), 0.0)
    if kind == "image":
        return Footage(iter(read_image(path)), 1, 0.0)
    frames, rate = read_video(path)
    return Footage(frames, count_frames(path), rate)


def read_array(path: Path) -> np.ndarray:
    """Raises DataError: see `opened`."""
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} is no array of frames: {error}") from error
    if array.ndim != 4 or array.shape[-1] != 3 or not (array.dtype == np.uint8 or np.issubdtype(array.dtype, np.floating)):
        raise DataError(f"{path} holds {array.dtype} {array.shape}; give uint8 or floats [t,h,w,3]")
    if not array.size:
        raise DataError(f"{path} holds no frames, its shape is {array.shape}")
    if array.dtype == np.uint8:
        return array
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise DataError(f"{path} holds pixels that are not finite")
    low, high = float(array.min()), float(array.max())
    if low < -1.001 or high > 1.001:
        raise DataError(f"{path} holds floats from {low:.4g} to {high:.4g}, but float pixels lie in -1..1; convert or clip them")
    return array


def sampled(count: int, rate: float, protocol: Protocol) -> np.ndarray:
    """The indices of the frames that are left of a video by the protocol's frame rate, ascending."""
    if not protocol.frame_rate or not rate:
        return np.arange(count)
    if protocol.sampling == "interval":
        return np.arange(0, count, max(1, round(rate / protocol.frame_rate)))
    if rate <= protocol.frame_rate:
        return np.arange(count)
    return np.linspace(0, count - 1, max(1, int(count / rate * protocol.frame_rate))).astype(np.int64)


def cut(frames: Iterator[np.ndarray], indices: np.ndarray, protocol: Protocol) -> Iterator[np.ndarray]:
    """The clips [t,h,w,3] that a protocol makes of the frames at `indices`, in the order of time.

    What lacks frames at its end gets copies of its last one, which are scored like others, as in VidTok's evaluation.
    """
    length = protocol.frames or len(indices)
    if protocol.clips == "centre":
        begin = max(0, (len(indices) - length) // 2)
        indices = indices[begin : begin + length]
    elif protocol.clips == "first":
        indices = indices[:length]
    clip: list[np.ndarray] = []
    for frame in _picked(frames, indices):
        clip.append(fitted(frame, protocol))
        if len(clip) == length:
            yield np.stack(clip)
            clip = []
    if clip:
        yield np.stack(clip + clip[-1:] * (length - len(clip)) if protocol.frames else clip)


def _picked(frames: Iterator[np.ndarray], indices: np.ndarray) -> Iterator[np.ndarray]:
    """The frames at ascending indices; one that is asked for twice comes twice."""
    places, number = iter(indices), -1
    frame = None
    for place in places:
        while number < place:
            frame, number = next(frames, None), number + 1
            if frame is None:
                return  # files announce more frames than they have
        yield frame


def fitted(frame: np.ndarray, protocol: Protocol) -> np.ndarray:
    """A frame [h,w,3] in the protocol's size."""
    side, (height, width) = protocol.resolution, frame.shape[:2]
    if not side or (height, width) == (side, side):
        return frame
    if frame.dtype != np.uint8:
        raise DataError(f"float frames are compared in their own size, and the protocol resizes {width} x {height} to {side}")
    if protocol.resize == "stretch":
        size = (side, side)
    else:
        size = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
    resized = Image.fromarray(frame).resize(size, _FILTERS[protocol.interpolation]) if size != (width, height) else frame
    return centre_crop(np.asarray(resized)[None], side, side)[0]


class Clips:
    """The clips of a data set in batches (ids, uint8 [b,t,h,w,3], bool [b]); the last is filled up with copies, not valid.

    A batch holds clips of one shape. A file that cannot be used is left out, and listed.

    Attributes:
      source: of the files.
      bad: dicts of id and reason.
    """

    def __init__(self, protocol: Protocol, source: Files, batch: int, done: Collection[str] = ()) -> None:
        """`done`: ids of clips to leave out, since they are scored already."""
        self.source, self.bad = source, []
        self._protocol, self._batch, self._done = protocol, batch, set(done)

    def __iter__(self) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
        """Raises DataError at the end where no file could be used."""
        yield from ahead(batched(self.each(), self._batch))
        if self.bad and len(self.bad) == len(self.source):
            raise DataError(
                f"no file below {self.source.root} can be used, the last is {self.bad[-1]['id']}: {self.bad[-1]['reason']}"
            )

    def each(self) -> Iterator[tuple[str, np.ndarray]]:
        """(id, clip) one by one."""
        for name in self.source.ids:
            try:
                for id, clip in self.of(name, lambda name=name: opened(self.source.root / name, self.source.kind)):
                    require_uint8(id, clip)
                    yield id, clip
            except DataError as error:
                logging.warning("%s is left out: %s", name, error)
                self.bad.append({"id": name, "reason": str(error)})

    def of(self, name: str, open_file: Callable[[], Footage]) -> Iterator[tuple[str, np.ndarray]]:
        """The clips of one file that are not done. One of several has its number in its id, as in "a.mp4#2"."""
        several = self._protocol.clips == "all" and bool(self._protocol.frames) and self.source.kind == "video"
        if not several and name in self._done:
            return
        footage = open_file()
        indices = sampled(footage.count, footage.rate, self._protocol)
        for number, clip in enumerate(cut(footage.frames, indices, self._protocol)):
            id = f"{name}#{number}" if several else name
            if id not in self._done:
                yield id, clip


def require_uint8(id: str, clip: np.ndarray) -> None:
    """Raises DataError for an original that is not 8 bits deep."""
    if clip.dtype != np.uint8:
        raise DataError(f"{id} holds floats, but originals are uint8; only reconstructions may be floats")


def batched(clips: Iterator[tuple[str, np.ndarray]], size: int) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
    """Neighbours of one shape and type together; copies of the last fill what is too small."""
    ids: list[str] = []
    held: list[np.ndarray] = []
    for id, clip in clips:
        if held and (len(held) == size or clip.shape != held[0].shape or clip.dtype != held[0].dtype):
            yield _filled(ids, held, size)
            ids, held = [], []
        ids.append(id)
        held.append(clip)
    if held:
        yield _filled(ids, held, size)


def ahead(batches: Iterator[T]) -> Iterator[T]:
    """The same, the next one always being read already, in a thread."""
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(next, batches, None)
        while (batch := pending.result()) is not None:
            pending = pool.submit(next, batches, None)
            yield batch


def _filled(ids: list[str], clips: list[np.ndarray], size: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    lacking = size - len(clips)
    return ids + [""] * lacking, np.stack(clips + clips[-1:] * lacking), np.arange(size) < len(clips)
