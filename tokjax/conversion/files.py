"""Video and image files become token files, and back, clip by clip in bounded memory.

A video longer than a clip is cut into clips that are encoded on their own, as in the published evaluation. A token file (.npz)
holds their tokens one after the other in time, with what it takes to give back the same length, size and frame rate.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tokjax.conversion.package import digest
from tokjax.data.decode import read_image, read_video, write_image, write_video
from tokjax.data.sources import IMAGE_SUFFIXES, DataError
from tokjax.models.tokenizer import Encoded, Tokenizer
from tokjax.training.workdir import write_atomically

MEDIA_SUFFIXES = (".mp4", ".mov", ".mkv", *IMAGE_SUFFIXES)

# What numpy, zipfile and zlib raise for bytes that are no .npz, or not the ones that were written.
_NO_TOKENS = (ValueError, KeyError, TypeError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)


class TokenFileError(ValueError):
    """A token file that cannot be read, or belongs to another model."""


@dataclasses.dataclass(frozen=True)
class TokenFile:
    """The content of a token file.

    Attributes:
      latents: float32 [t',h',w',c], all clips one after the other.
      indices: int32 [t',h',w'], or None where latents are continuous.
      frames, height, width: of the video.
      frame_rate: frames per second; 0 marks an image.
      clip_frames: frames that were encoded together.
      model: digest of the model that made them.
    """

    latents: np.ndarray
    indices: np.ndarray | None
    frames: int
    height: int
    width: int
    frame_rate: float
    clip_frames: int
    model: str

    def save(self, path: Path) -> None:
        """Writes the file whole or not at all. Codes are stored alone: their latents follow from them."""
        arrays = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        if self.indices is not None:
            del arrays["latents"]
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_atomically(path, buffer.getvalue())


def read_tokens(path: Path, tokenizer: Tokenizer) -> TokenFile:
    """The tokens in a file that this tokenizer made.

    Raises:
      TokenFileError: no token file, or another model's.
    """
    packed = io.BytesIO(path.read_bytes())
    try:
        with np.load(packed, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
        _require_one_of(content, "latents", "indices")
        values = {field.name: content.get(field.name) for field in dataclasses.fields(TokenFile)}
        plain = {name: content[name].item() for name in ("frames", "height", "width", "frame_rate", "clip_frames", "model")}
    except _NO_TOKENS as error:
        raise TokenFileError(f"{path} is not a token file written by `tokjax encode`, or it is damaged") from error
    if plain["model"] != digest(tokenizer):
        raise TokenFileError(f"the tokens in {path} were made by another model; decode them with the model that encoded them")
    if values["indices"] is not None:
        values["latents"] = np.asarray(tokenizer.module.quantizer.indices_to_latents(values["indices"]))
    return TokenFile(**{**values, **plain})


def _require_one_of(content: Mapping[str, np.ndarray], *names: str) -> None:
    if sum(name in content for name in names) != 1:
        raise KeyError(" or ".join(names))


def read_media(path: Path) -> tuple[Iterator[np.ndarray], float]:
    """(frames uint8 [h,w,3] one at a time, frames per second); an image is one frame at 0 per second.

    Raises:
      DataError: no image or video, or one without frames. OSError.
    """
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return iter(read_image(path)), 0.0
    frames, frame_rate = read_video(path)
    first = next(frames, None)
    if first is None:
        raise DataError(f"{path}: the video has no frames")
    return itertools.chain([first], frames), frame_rate


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


def clip_length(tokenizer: Tokenizer) -> int:
    """Frames that are encoded together: as many as the model was trained on."""
    streams = tokenizer.config.data.train.values()
    return tokenizer.module.whole_frames(max((stream.frames for stream in streams), default=17))


def clips(frames: Iterable[np.ndarray], length: int) -> Iterator[np.ndarray]:
    """uint8 [1,t,h,w,3] with t = length, the last one shorter where the frames do not fill it."""
    frames = iter(frames)
    while part := list(itertools.islice(frames, length)):
        yield np.stack(part)[None]


def encode_frames(tokenizer: Tokenizer, frames: Iterable[np.ndarray], frame_rate: float) -> TokenFile:
    """The tokens of a video given frame by frame, in the mode of the latents."""
    length = clip_length(tokenizer)
    encoded = [tokenizer.encode(clip) for clip in clips(frames, length)]
    latents = np.concatenate([np.asarray(one.latents[0]) for one in encoded])
    has_codes = encoded[0].indices is not None
    indices = np.concatenate([np.asarray(one.indices[0]) for one in encoded]) if has_codes else None
    _, height, width = encoded[0].shape
    total = sum(one.shape[0] for one in encoded)
    return TokenFile(latents, indices, total, height, width, frame_rate, length, digest(tokenizer))


def decode_frames(tokenizer: Tokenizer, tokens: TokenFile) -> Iterator[np.ndarray]:
    """The frames uint8 [h,w,3] of a token file."""
    position = 0
    for start in range(0, tokens.frames, tokens.clip_frames):
        frames = min(tokens.clip_frames, tokens.frames - start)
        count = tokenizer.module.latent_shape(tokenizer.module.whole_frames(frames), tokens.height, tokens.width)[0]
        latents = tokens.latents[None, position : position + count]
        position += count
        yield from tokenizer.decode(Encoded(latents, None, (frames, tokens.height, tokens.width), np.dtype(np.uint8)))[0]


def reconstruct_frames(tokenizer: Tokenizer, frames: Iterable[np.ndarray], side_by_side: bool) -> Iterator[np.ndarray]:
    """The frames decoded again; with `side_by_side` each is the original on the left and its reconstruction on the right."""
    for clip in clips(frames, clip_length(tokenizer)):
        again = tokenizer.reconstruct(clip)
        yield from (np.concatenate([clip, again], axis=3) if side_by_side else again)[0]
