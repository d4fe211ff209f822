"""Reconstructions that somebody else made, in a folder, beside the originals in another: paired by name, cut alike."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from tokjax.data.sources import IMAGE_SUFFIXES, VIDEO_SUFFIXES, DataError
from tokjax.evaluation.clips import Clips, Files, Footage, ahead, batched, names_below, opened, require_uint8
from tokjax.evaluation.evaluator import Judged
from tokjax.evaluation.protocols import Protocol, adjusted

SHOWN = 5  # names in a message


def files_of(root: Path, media: str) -> Files:
    """The images or videos below a folder, arrays .npy counting as either.

    Raises:
      DataError: none there.
    """
    suffixes = (*(IMAGE_SUFFIXES if media == "images" else VIDEO_SUFFIXES), ".npy")
    if not root.is_dir():
        raise DataError(f"the folder {root} does not exist")
    ids = names_below(root, suffixes)
    if not ids:
        raise DataError(f"no {media} below {root}; looked for {' '.join(suffix[1:] for suffix in suffixes)}")
    return Files(root, ids, media.removesuffix("s"))


def media_of(root: Path) -> str:
    """What a folder holds: "videos" where there are videos or arrays and no images, else "images"."""
    return "videos" if names_below(root, (*VIDEO_SUFFIXES, ".npy")) and not names_below(root, IMAGE_SUFFIXES) else "images"


def as_they_are(root: Path, overrides: Sequence[str] = (), metrics: Sequence[str] = ()) -> tuple[Protocol, dict[str, Any]]:
    """The protocol that takes what the folder holds in its own size and length: whole videos, or images.

    Raises:
      ProtocolError: an override or a metric that cannot be.
    """
    if media_of(root) == "images":
        return adjusted(Protocol("as they are", "images", ("psnr", "ssim"), resolution=0), overrides, metrics)
    whole = Protocol("as they are", "videos", ("psnr", "ssim", "flicker"), frames=0, clips="all", resolution=0)
    return adjusted(whole, overrides, metrics)


def partners(originals: Files, reconstructions: Files) -> dict[str, str]:
    """Original -> reconstruction, of one name up to its ending.

    Raises:
      DataError: a name that only one side has, or has twice.
    """
    left, right = _by_stem(originals), _by_stem(reconstructions)
    lacking = [(originals.root, sorted(set(right) - set(left))), (reconstructions.root, sorted(set(left) - set(right)))]
    complaints = [f"{root} lacks {_listed(names)}" for root, names in lacking if names]
    if complaints:
        raise DataError(f"the folders do not hold the same names: {'; '.join(complaints)}")
    return {left[stem]: right[stem] for stem in left}


def _by_stem(source: Files) -> dict[str, str]:
    found: dict[str, str] = {}
    for id in source.ids:
        stem = PurePosixPath(id).with_suffix("").as_posix()
        if stem in found:
            raise DataError(f"{source.root} holds both {found[stem]} and {id}, so that a name stands for two files")
        found[stem] = id
    return found


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more} ({len(names)} in all)" if more else ", ".join(names)


class Pairs:
    """Batches of clips with their reconstructions, for `evaluate_pairs`.

    A reconstruction as long and as large as its original is sampled, cut and resized like it. One in the protocol's own size must
    hold the sampled frames in order; copies of its last frame fill the last clip, as with originals.
    """

    def __init__(
        self,
        protocol: Protocol,
        originals: Files,
        reconstructions: Files,
        batch: int,
        done: Collection[str] = (),
        place: NamedSharding | None = None,
    ) -> None:
        """`place` is where the reconstructions go; the devices divide the batch. Raises DataError: see `partners`."""
        self.source, self._others = originals, reconstructions
        self._partners = partners(originals, reconstructions)
        self._clips = Clips(protocol, originals, 1, done)
        self._protocol, self._batch, self._place = protocol, batch, place
        self._as_they_are = Clips(dataclasses.replace(protocol, frame_rate=0.0, clips=_kept(protocol)), reconstructions, 1)

    def __iter__(self) -> Iterator[Judged]:
        """Raises DataError: a file that cannot be used, or a reconstruction of another size or length."""
        for ids, both, valid in ahead(batched(self._each(), self._batch)):
            video, reconstruction = np.split(both, 2, axis=-1) if both.dtype == np.uint8 else _halves(both)
            yield ids, np.ascontiguousarray(video), valid, jax.device_put(np.ascontiguousarray(reconstruction), self._place), None

    def _each(self) -> Iterator[tuple[str, np.ndarray]]:
        """(id, original and reconstruction as channels of one array, which is float where the reconstruction is)."""
        for name in self.source.ids:
            originals = list(self._clips.of(name, lambda name=name: opened(self.source.root / name, self.source.kind)))
            if originals:
                yield from self._with_partners(name, originals)

    def _with_partners(self, name: str, originals: list[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
        partner = self._partners[name]
        theirs = self._reconstructions(name, partner)
        for id, clip in originals:
            require_uint8(id, clip)
            other = theirs.get(id.removeprefix(name))
            if other is None or other.shape != clip.shape:
                found = "nothing" if other is None else f"{other.shape[0]} frames of {other.shape[2]} x {other.shape[1]}"
                raise DataError(
                    f"{self._others.root / partner} holds {found} where {id} has {clip.shape[0]} frames of "
                    f"{clip.shape[2]} x {clip.shape[1]}; reconstructions are as large and long as originals, or as clips"
                )
            yield id, np.concatenate([clip.astype(other.dtype), other], axis=-1)

    def _reconstructions(self, name: str, partner: str) -> dict[str, np.ndarray]:
        """Clips by the mark that follows the file's name in their ids."""
        ours, size = _measured(opened(self.source.root / name, self.source.kind))
        theirs, found = _measured(opened(self._others.root / partner, self._others.kind))
        if found == size:
            clips = Clips(self._protocol, self._others, 1).of(partner, lambda: dataclasses.replace(theirs, rate=ours.rate))
        else:
            clips = self._as_they_are.of(partner, lambda: theirs)
        return {id.removeprefix(partner): clip for id, clip in clips}


def _kept(protocol: Protocol) -> str:
    """How a file that holds only the frames of its clips is cut."""
    return "all" if protocol.clips == "all" else "first"


def _measured(footage: Footage) -> tuple[Footage, tuple[int, int, int]]:
    """The same, of which nothing is taken, and its size (t, h, w)."""
    first = next(footage.frames)
    whole = dataclasses.replace(footage, frames=itertools.chain([first], footage.frames))
    return whole, (footage.count, *first.shape[:2])


def _halves(both: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint8 originals and float reconstructions."""
    return both[..., :3].astype(np.uint8), both[..., 3:]
