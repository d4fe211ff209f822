"""Videos of any length become tokens and back, part by part: memory does not grow with the length.

A streamable model, as VidTok's causal ones are, takes a video as one stream of chunks, with the result of the whole video in one
piece (tokjax.models.streaming). Another one takes it in clips that are encoded on their own, as in the published evaluation.
Reading, computing and writing overlap: each function below yields what a thread makes, which takes what another one reads.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Iterable, Iterator

import jax
import numpy as np

from tokjax.conversion.media import Media
from tokjax.conversion.overlapped import ahead
from tokjax.conversion.package import digest
from tokjax.conversion.token_files import TokenHeader, regrouped
from tokjax.models.streaming import ChunkDecoder, ChunkEncoder, check_chunks
from tokjax.models.tiles import Tile, tile_in_latents
from tokjax.models.tokenizer import Encoded, Tokenizer
from tokjax.quantizers import Quantized

CHUNK_FRAMES = CLIP_FRAMES = 16


@dataclasses.dataclass(frozen=True)
class Cut:
    """How a video is cut.

    Attributes:
      frames: of a chunk, or of a clip.
      streamed: whether chunks remember those before them; otherwise these are clips.
      tile: (height, width) of the tiles of a frame, or None for whole frames.
    """

    frames: int
    streamed: bool
    tile: Tile | None


def make_cut(tokenizer: Tokenizer, chunk_frames: int | None = None, tile: Tile | None = None) -> Cut:
    """What is asked for, else chunks of 16 frames or the next multiple of the time factor, and clips of the training length.

    Raises:
      ValueError: chunks or tiles that the model cannot do.
    """
    module = tokenizer.module
    tile_in_latents(module, tile)
    if chunk_frames is not None:
        check_chunks(module, chunk_frames)
    if module.streamable:
        return Cut(chunk_frames or CHUNK_FRAMES + -CHUNK_FRAMES % module.time_factor, True, tile)
    trained = max((stream.frames for stream in tokenizer.config.data.train.values()), default=CLIP_FRAMES)
    return Cut(trained + sum(module.pad_frames(trained)), False, tile)


def header_of(tokenizer: Tokenizer, media: Media, cut: Cut) -> TokenHeader:
    """The header for the tokens of a file that has been read to its end."""
    front = tokenizer.module.pad_frames(media.announced)[0] if cut.streamed else 0
    clip_frames = 0 if cut.streamed else cut.frames
    return TokenHeader(media.frames, media.height, media.width, media.frame_rate, front, clip_frames, digest(tokenizer))


def encode_frames(tokenizer: Tokenizer, frames: Iterable[np.ndarray], announced: int, cut: Cut) -> Iterator[np.ndarray]:
    """Frames uint8 [h,w,3] -> parts of their codes [t',h',w'] or, where these are continuous, latents [t',h',w',c].

    Args:
      announced: the length, as far as is known; a causal v1.1 model begins with more or fewer copies of the first frame by it.
    """

    def parts() -> Iterator[np.ndarray]:
        for tokens in _encode(tokenizer, ahead(clips(frames, cut.frames), 1), announced, cut):
            yield np.asarray((tokens.latents if tokens.indices is None else tokens.indices)[0])

    return ahead(parts(), 1)


def decode_frames(tokenizer: Tokenizer, header: TokenHeader, parts: Iterable[np.ndarray], cut: Cut) -> Iterator[np.ndarray]:
    """The frames uint8 [h,w,3] of the parts of a token file."""

    def frames() -> Iterator[np.ndarray]:
        if header.clip_frames:
            videos = _decode_clips(tokenizer, header, parts, cut.tile)
        else:
            steps = (part[None] for part in regrouped(parts, cut.frames // tokenizer.module.time_factor))
            videos = _decode_stream(tokenizer, steps, header.front, cut.tile)
        every = itertools.chain.from_iterable(video[0] for video in videos)
        height, width = (side * tokenizer.upscale for side in (header.height, header.width))
        yield from (frame[:height, :width] for frame in itertools.islice(every, header.frames))

    return ahead(frames(), cut.frames)


def reconstruct_frames(
    tokenizer: Tokenizer, frames: Iterable[np.ndarray], announced: int, cut: Cut, side_by_side: bool = False
) -> Iterator[np.ndarray]:
    """The frames decoded again; with `side_by_side` each is the original on the left and its reconstruction on the right."""
    originals: deque[np.ndarray] = deque()

    def read() -> Iterator[np.ndarray]:
        for clip in ahead(clips(frames, cut.frames), 1):
            originals.extend(clip[0])
            yield clip

    def again() -> Iterator[np.ndarray]:
        for video in _reconstruct(tokenizer, read(), announced, cut):
            for frame in video[0, : len(originals)]:  # what is beyond them only filled the last latent
                original, times = originals.popleft(), tokenizer.upscale
                frame = frame[: times * original.shape[0], : times * original.shape[1]]
                beside = [original.repeat(times, axis=0).repeat(times, axis=1)] if side_by_side else []
                yield np.concatenate([*beside, frame], axis=1)

    return ahead(again(), cut.frames)


def clips(frames: Iterable[np.ndarray], length: int) -> Iterator[np.ndarray]:
    """uint8 [1,t,h,w,3] with t = length, the last one shorter where the frames do not fill it."""
    frames = iter(frames)
    while part := list(itertools.islice(frames, length)):
        yield np.stack(part)[None]


def _encode(tokenizer: Tokenizer, videos: Iterable[np.ndarray], announced: int, cut: Cut) -> Iterator[Quantized | Encoded]:
    if cut.streamed:
        return _encode_stream(tokenizer, videos, announced, cut.tile)
    return (tokenizer.encode(clip, tile=cut.tile) for clip in videos)


def _encode_stream(tokenizer: Tokenizer, chunks: Iterable[np.ndarray], announced: int, tile: Tile | None) -> Iterator[Quantized]:
    encoder, seen = ChunkEncoder(tokenizer, announced, tile), 0
    for chunk in chunks:
        seen += chunk.shape[1]
        if tokens := encoder.push(chunk):
            yield tokens
    # The end is filled here rather than by the encoder, which insists on the length that was announced.
    back = tokenizer.module.pad_frames(announced)[1]
    if lacking := (announced + back - seen) % tokenizer.module.time_factor:
        yield encoder.push(np.repeat(chunk[:, -1:], lacking, axis=1))


def _decode_stream(
    tokenizer: Tokenizer, tokens: Iterable[np.ndarray | jax.Array], front: int, tile: Tile | None
) -> Iterator[np.ndarray]:
    """Frames uint8 [1,t,h,w,3] as the model gives them, sides and what filled the last latent included."""
    decoder = ChunkDecoder(tokenizer, None, np.uint8, tile, front)
    videos = itertools.chain((decoder.push(part) for part in tokens), (decoder.finish() for _ in range(1)))
    return (video for video in videos if video is not None)


def _decode_clips(
    tokenizer: Tokenizer, header: TokenHeader, parts: Iterable[np.ndarray], tile: Tile | None
) -> Iterator[np.ndarray]:
    module, size = tokenizer.module, (header.height, header.width)
    steps = module.latent_shape(header.clip_frames + sum(module.pad_frames(header.clip_frames)), *size)[0]
    for number, part in enumerate(regrouped(parts, steps)):
        frames = min(header.clip_frames, header.frames - number * header.clip_frames)
        encoded = Encoded(tokenizer.latents(part[None]), None, (frames, *size), np.dtype(np.uint8))
        yield tokenizer.decode(encoded, tile=tile)


def _reconstruct(tokenizer: Tokenizer, videos: Iterable[np.ndarray], announced: int, cut: Cut) -> Iterator[np.ndarray]:
    if not cut.streamed:
        return (tokenizer.reconstruct(clip, tile=cut.tile) for clip in videos)
    latents = (tokens.latents for tokens in _encode_stream(tokenizer, videos, announced, cut.tile))
    return _decode_stream(tokenizer, latents, tokenizer.module.pad_frames(announced)[0], cut.tile)
