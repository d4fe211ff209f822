"""Records of a TensorFlow Datasets directory: `tfds.data_source`, which needs no TensorFlow where the set is stored for it."""

from __future__ import annotations

import hashlib
import importlib.util
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tokjax.data.records import BadRecord, DataError, Record

VIDEO_RATE = 25  # frames per second of UCF-101; TFDS stores frames without their times


class TfdsSource:
    """The examples of one split, stored as ArrayRecord; images as the bytes they were downloaded as."""

    def __init__(self, directory: str, split: str) -> None:
        """`directory` is that of a version, such as ~/tensorflow_datasets/imagenet2012/5.1.0.

        Raises:
          DataError: no such set or split, one stored for sequential reading only, or one without images and videos.
        """
        self.directory, self.split = directory, split
        if not split:
            raise DataError(f"the tfds stream over {directory} names no split; set its `split`, such as 'train'")
        if self._feature not in self._builder.info.features:
            raise DataError(f"the data set in {directory} has neither a feature `image` nor `video`")
        len(self)

    @cached_property
    def _builder(self) -> Any:
        import tensorflow_datasets as tfds

        if not (Path(self.directory).expanduser() / "dataset_info.json").is_file() and "://" not in self.directory:
            raise DataError(
                f"{self.directory} is no data set of tfds; give the folder of its version, such as DIR/imagenet2012/5.1.0"
            )
        return tfds.builder_from_directory(self.directory)

    @property
    def _feature(self) -> str:
        return "video" if "video" in self._builder.info.features else "image"

    @cached_property
    def _examples(self) -> Any:
        import tensorflow_datasets as tfds

        if self.split.partition("[")[0] not in self._builder.info.splits:
            known = ", ".join(self._builder.info.splits)
            raise DataError(f"the data set in {self.directory} has no split {self.split!r}; it has {known}")
        decoders = {"image": tfds.decode.SkipDecoding()} if self._feature == "image" else None
        try:
            return self._builder.as_data_source(self.split, decoders=decoders)
        except NotImplementedError as error:
            raise DataError(
                f"the data set in {self.directory} is stored for sequential reading; prepare it again with "
                "file_format='array_record', as `tokjax prepare tfds` does"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {"directory": self.directory, "split": self.split}

    def __len__(self) -> int:
        return len(self._examples)

    def record(self, index: int) -> Record:
        try:
            example = self._examples[index]
        except RuntimeError as error:
            reason = f"cannot be read from its shard: {str(error).partition(chr(10))[0]}"
            raise BadRecord(reason, f"{self.split}/{index:08d}") from error
        name = example.get("file_name", f"{self.split}/{index:08d}")
        name = name.decode() if isinstance(name, bytes) else str(name)
        label = int(example["label"]) if "label" in example else None
        if self._feature == "image":
            return Record(name, "image", bytes(example["image"]), label)
        return Record(name, "video", _encoded(np.asarray(example["video"])), label)

    def fingerprint(self) -> str:
        info = self._builder.info
        parts = (info.full_name, self.split, len(self), info.splits[self.split.partition("[")[0]].num_bytes)
        return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()

    def size(self) -> int:
        """The share of its split, of which it may be a part."""
        whole = self._builder.info.splits[self.split.partition("[")[0]]
        return whole.num_bytes * len(self) // whole.num_examples


def _encoded(frames: np.ndarray) -> bytes:
    """uint8 [t,h,w,3] as H.264 in mp4."""
    from tokjax.data.decode import write_video

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, frames, VIDEO_RATE)
        return path.read_bytes()


def prepared_directory(name: str, data_dir: str) -> str:
    """The directory of a set of TFDS, which is downloaded and built where it is not there yet.

    Args:
      name: such as "imagenet2012" or "ucf101".
      data_dir: where TFDS keeps its sets; "" is its own choice.

    Raises:
      DataError: TensorFlow, which builds most sets, is missing, or the set cannot be built.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise DataError(
            f'building {name} needs TensorFlow: pip install "tokjax[tfds]"; a set that is built already is read without it by a '
            "stream of kind 'tfds', and pictures or videos in folders by `tokjax prepare images` or `videos`"
        )
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir or None, file_format="array_record")
        builder.download_and_prepare()
    except (tfds.core.DatasetNotFoundError, AssertionError) as error:  # the latter names files to be fetched by hand
        raise DataError(f"tfds cannot prepare {name}: {error}") from error
    return str(builder.data_dir)
