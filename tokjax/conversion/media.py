"""Image and video files in and out, one frame at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tokjax.data.decode import count_frames, read_image, read_video, write_image, write_video
from tokjax.data.sources import IMAGE_SUFFIXES, DataError

MEDIA_SUFFIXES = (".mp4", ".mov", ".mkv", *IMAGE_SUFFIXES)


class Media:
    """An image or video file, whose frames uint8 [h,w,3] are read once, by iterating.

    Attributes:
      height, width: of its frames.
      frame_rate: frames per second; 0 marks an image.
      announced: frames that the file says it has, which may be wrong.
      frames: how many have been read.
    """

    def __init__(self, path: Path) -> None:
        """Opens the file and reads its first frame.

        Raises:
          DataError: no image or video, or one without frames. OSError.
        """
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty")
        if path.suffix.lower() in IMAGE_SUFFIXES:
            frames, self.frame_rate, self.announced = iter(read_image(path)), 0.0, 1
        else:
            (frames, self.frame_rate), self.announced = read_video(path), max(1, count_frames(path))
        first = next(frames, None)
        if first is None:
            raise DataError(f"{path}: the video has no frames")
        self.height, self.width = first.shape[:2]
        self.frames = 0
        self._path, self._frames = path, itertools.chain([first], frames)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Raises DataError where the file turns out to be damaged, or its frames change their size."""
        for frame in self._frames:
            if frame.shape[:2] != (self.height, self.width):
                raise DataError(f"{self._path}: frame {self.frames} is of another size than those before it")
            self.frames += 1
            yield frame


def require_output(path: Path, suffixes: Sequence[str]) -> None:
    """Finds out before the work whether a file can be written there.

    Raises:
      DataError: a name with another end, or a folder that does not exist.
    """
    if path.suffix.lower() not in suffixes:
        raise DataError(f"cannot write {path}: give a name that ends in {', '.join(suffixes)}")
    if not path.parent.is_dir():
        raise DataError(f"cannot write {path}: the folder {path.parent} does not exist")


def write_media(path: Path, frames: Iterable[np.ndarray], frame_rate: float) -> None:
    """Writes an image where the name asks for one and a video otherwise; an image written as a video lasts a second.

    Raises:
      DataError: no frames, a name of another kind, or an image asked of several frames. OSError.
    """
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return write_video(path, frames, frame_rate or 1.0)
    frame, *more = itertools.islice(frames, 2)
    if more:
        raise DataError(f"cannot write {path}: an image holds one frame and this is a video; give a name that ends in .mp4")
    write_image(path, frame)
