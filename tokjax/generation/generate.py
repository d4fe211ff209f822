"""Samples of pixels: tokens drawn by a model, decoded by its tokenizer. Each sample depends on its label and number alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from tokjax.generation.filters import Drawing
from tokjax.generation.language_model import LanguageModel
from tokjax.generation.latent_sampling import Denoising, sample_latents
from tokjax.generation.package import TokenModel
from tokjax.generation.token_sampling import sample_codes
from tokjax.models.mesh import make_mesh
from tokjax.models.tokenizer import Encoded, Tokenizer


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
      labels: the class of each sample; -1 for none.
      seed: sample number i is drawn with this and i.
      batch: samples drawn at once, a multiple of the devices.
      how: of the model's kind.
      given: uint8 [1,t,h,w,3], first frames that every sample goes on from, or None.
    """

    labels: Sequence[int]
    seed: int
    batch: int
    how: Drawing | Denoising
    given: np.ndarray | None = None


def generate(model: TokenModel, tokenizer: Tokenizer, request: Request) -> Iterator[np.ndarray]:
    """Samples uint8 [t,h,w,3] in order.

    Raises:
      ValueError: a tokenizer of other tokens, a label that is no class, options of the other kind of model, first frames that
        cannot be continued, or samples that are not finite.
    """
    _check(model, tokenizer, request)
    given = None if request.given is None else first_codes(model, tokenizer, request.given)
    shape = clip_of(tokenizer, model.module.grid)
    mesh = make_mesh({"data": -1})
    spread, everywhere = (NamedSharding(mesh, spec) for spec in (PartitionSpec("data"), PartitionSpec()))
    variables = jax.device_put(dict(model.variables), everywhere)
    devices = jax.device_count()
    size = min(request.batch, -(-len(request.labels) // devices) * devices)  # no more than are wanted
    for begin in range(0, len(request.labels), size):
        labels = np.asarray(request.labels[begin : begin + size], np.int32)
        filled = np.resize(labels, size)  # the last, smaller batch is filled up, so that one program does for all
        numbers = jnp.arange(begin, begin + size)
        keys = jax.vmap(lambda number: jax.random.fold_in(jax.random.key(request.seed), number))(numbers)
        laid = [jax.device_put(one, spread) for one in (jnp.asarray(filled), keys)]
        tokens = np.asarray(_drawn(model, variables, *laid, request.how, given))
        if not np.isfinite(tokens).all():
            raise ValueError(
                f"samples {begin} to {begin + len(labels) - 1} have latents that are not finite; the model may have diverged, or "
                "the guidance be too strong"
            )
        latents = tokenizer.latents(tokens)
        clips = tokenizer.decode(Encoded(latents, None, shape, np.dtype(np.uint8)))
        yield from clips[: len(labels)]


def _check(model: TokenModel, tokenizer: Tokenizer, request: Request) -> None:
    model.require_tokenizer(tokenizer)
    classes = model.module.classes
    for label in request.labels:
        if not (-1 <= label < classes):
            has = f"the classes 0 to {classes - 1}" if classes else "no classes"
            raise ValueError(f"{label} is no class of this model, which has {has}")
    language = isinstance(model.module, LanguageModel)
    if isinstance(request.how, Drawing) != language:
        raise ValueError(f"a {model.config.model.family} is not sampled with {type(request.how).__name__}")
    if request.given is not None and not language:
        raise ValueError("only a language model goes on from first frames; this is a model of diffusion")
    devices = jax.device_count()
    if request.batch < 1 or request.batch % devices:
        raise ValueError(f"the batch is {request.batch}, which must be a multiple of the {devices} devices")
    if language and model.module.mode == "published" and classes and -1 in request.labels:
        raise ValueError("a published model of classes cannot be sampled without one; name classes")


def asks_what_was_never_trained(model: TokenModel, request: Request) -> bool:
    """Whether guidance or a sample without class needs the unconditional branch of a model of classes that never learned it."""
    published = isinstance(model.module, LanguageModel) and model.module.mode == "published"
    never = published or not model.config.model.condition_dropout
    guides = request.how.guidance != type(request.how)().guidance
    return bool(model.module.classes) and never and (guides or -1 in request.labels)


def first_codes(model: TokenModel, tokenizer: Tokenizer, frames: np.ndarray) -> jax.Array:
    """Codes int32 [1,n] of first frames [1,t,h,w,3].

    Raises:
      ValueError: frames of another size, as many as a sample has, or fewer than their last codes stand for.
    """
    grid, count = model.module.grid, frames.shape[1]
    if lacking := tokenizer.module.pad_frames(count)[1]:
        more = count + lacking
        raise ValueError(f"{count} first frames fill no whole codes of this tokenizer, {more} would; give {more}, or fewer")
    codes = np.asarray(tokenizer.encode(frames).indices)
    if codes.shape[2:] != grid[1:] or codes.shape[1] >= grid[0]:
        theirs, ours = ("x".join(map(str, shape)) for shape in (codes.shape[1:], grid))
        raise ValueError(f"the first frames make {theirs} codes, but samples are {ours}: give fewer frames, of the samples' size")
    return jnp.asarray(codes.reshape(1, -1))


def clip_of(tokenizer: Tokenizer, grid: tuple[int, int, int]) -> tuple[int, int, int]:
    """(frames, height, width) of the longest clip whose latents have this grid and are decoded to all of it.

    Raises:
      ValueError: there is none.
    """
    module = tokenizer.module
    height, width = (side * module.space_factor for side in grid[1:])
    latents = jax.ShapeDtypeStruct((1, *grid, module.latent_channels), jnp.float32)
    decode = partial(module.apply, method="decode")
    decoded = jax.eval_shape(decode, dict(tokenizer.variables), latents).shape[1]
    for frames in range(decoded, 0, -1):
        fits = tuple(module.latent_shape(frames, height, width))[:3] == tuple(grid)
        if fits and frames + module.pad_frames(frames)[1] <= decoded:
            return frames, height, width
    raise ValueError(f"no clip of this tokenizer has latents of {'x'.join(map(str, grid))}")


def _drawn(
    model: TokenModel, variables: dict, labels: jax.Array, keys: jax.Array, how: Drawing | Denoising, given: jax.Array | None
) -> jax.Array:
    module = model.module
    if not isinstance(module, LanguageModel):
        return sample_latents(module, variables, labels, keys, how)
    given = None if given is None else jnp.repeat(given, len(labels), axis=0)
    # Published prediction of frames goes without a start, but a class is never left out.
    with_start = given is None or module.mode == "sound" or module.classes > 0
    codes = sample_codes(module, variables, labels, keys, how, given, with_start)
    return codes.reshape(len(codes), *module.grid)
