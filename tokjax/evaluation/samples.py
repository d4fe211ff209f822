"""Generated samples in a folder: which files they are, and the clips of a protocol that they make. They have no partners."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tokjax.data.lists import SUFFIXES
from tokjax.data.sources import DataError
from tokjax.evaluation.clips import Clips, Files, Footage, ahead, batched, names_below, opened
from tokjax.evaluation.protocols import Protocol, protocols_of

LIST = "samples.json"  # that `tokjax generate` writes beside its samples


def samples_in(folder: Path, media: str) -> Files:
    """The samples below a folder: those that its `samples.json` lists, or else all images or videos; arrays .npy are either.

    Raises:
      DataError: none there, both kinds, the other kind, or one that the list names is not there.
    """
    if not folder.is_dir():
        raise DataError(f"the folder {folder} does not exist")
    ids = _listed(folder) if (folder / LIST).is_file() else _found(folder)
    kinds = {kind: [id for id in ids if Path(id).suffix.lower() in suffixes] for kind, suffixes in SUFFIXES.items()}
    if kinds["images"] and kinds["videos"]:
        both = f"{kinds['images'][0]} and {kinds['videos'][0]}"
        raise DataError(f"{folder} holds both images and videos ({both}); put the samples to evaluate into a folder of their own")
    other = "videos" if media == "images" else "images"
    if kinds[other]:
        raise DataError(
            f"{folder} holds {other}, as {kinds[other][0]}, but the protocol is of {media}; of samples there are "
            f"{', '.join(protocols_of('generation'))}"
        )
    if not ids:
        raise DataError(f"no samples below {folder}; looked for {' '.join(suffix[1:] for suffix in (*SUFFIXES[media], '.npy'))}")
    return Files(folder, ids, media.removesuffix("s"))


def how_made(folder: Path) -> dict[str, Any]:
    """What the list beside the samples says of them: model, step, tokenizer, seed; empty where there is no list."""
    return dict(_list_in(folder).get("about", {})) if (folder / LIST).is_file() else {}


def spread(ids: list[str], count: int) -> list[str]:
    """`count` of the names, at even distances in their order, so that all classes stay in; all of them where 0 or more."""
    return [ids[i * len(ids) // count] for i in range(count)] if 0 < count < len(ids) else ids


def spread_files(files: Files, count: int) -> Files:
    """The same of files."""
    return dataclasses.replace(files, ids=spread(files.ids, count))


def _found(folder: Path) -> list[str]:
    suffixes = {suffix for each in SUFFIXES.values() for suffix in each} | {".npy"}
    return names_below(folder, suffixes)


def _listed(folder: Path) -> list[str]:
    ids = [row["file"] for row in _list_in(folder)["samples"]]
    for id in ids:
        if not (folder / id).is_file():
            raise DataError(f"{folder / LIST} lists {id}, which is not there; generate again, or remove the list")
    return sorted(ids)


def _list_in(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / LIST).read_text())
        [Path(row["file"]) for row in content["samples"]]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / LIST} is no list that `tokjax generate` wrote; remove it, or rename it") from error
    return content


class Samples:
    """Batches of clips (ids, uint8 or float [b,t,h,w,3], bool [b]), as Clips has them; but each file has to be usable.

    Frames of a sample follow one another already: the protocol's frame rate is that of the references.

    Attributes:
      resized: of the first sample that was not of the protocol's size, what it was; None where all were.
    """

    def __init__(self, protocol: Protocol, source: Files, batch: int, done: Collection[str] = ()) -> None:
        """`done`: ids of clips to leave out, since they are scored already."""
        self.source, self.resized = source, None
        self._protocol, self._batch = protocol, batch
        self._clips = Clips(dataclasses.replace(protocol, frame_rate=0.0), source, batch, done)

    def __iter__(self) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
        """Raises DataError: a file that cannot be read, is smaller or shorter than the protocol's clips, or is no image."""
        yield from ahead(batched(self.each(), self._batch))

    def each(self) -> Iterator[tuple[str, np.ndarray]]:
        """(id, clip) one by one."""
        for name in self.source.ids:
            yield from self.of(name)

    def of(self, name: str) -> Iterator[tuple[str, np.ndarray]]:
        """The clips of one file that are not done."""
        return self._clips.of(name, lambda: self._opened(name))

    def _opened(self, name: str) -> Footage:
        footage, wanted = opened(self.source.root / name, self.source.kind), self._protocol.frames
        if self.source.kind == "image" and footage.count > 1:
            raise DataError(f"{self.source.root / name} holds {footage.count} frames, but {self._protocol.name} is of images")
        if footage.count < wanted:
            self._refuse_short(name, footage.count)
        return dataclasses.replace(footage, frames=self._checked(name, footage.frames))

    def _checked(self, name: str, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        count = 0
        for frame in frames:
            self._check_size(name, frame)
            count += 1
            yield frame
        if count < self._protocol.frames:  # files announce more frames than they have
            self._refuse_short(name, count)

    def _check_size(self, name: str, frame: np.ndarray) -> None:
        side, (height, width) = self._protocol.resolution, frame.shape[:2]
        if min(height, width) < side:
            raise DataError(
                f"{self.source.root / name} is {width} x {height}, smaller than the {side} x {side} of {self._protocol.name}; "
                f"make samples of that size, or say --set resolution={min(height, width)} and quote the number with it"
            )
        if side and (height, width) != (side, side) and self.resized is None:
            self.resized = f"{name} is {width} x {height}"

    def _refuse_short(self, name: str, count: int) -> None:
        raise DataError(
            f"{self.source.root / name} has {count} frames, fewer than the {self._protocol.frames} of {self._protocol.name}; "
            f"make longer samples, or say --set frames={count} and quote the number with it"
        )
