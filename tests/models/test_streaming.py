"""Long video in chunks equals the whole video, in both causal families, at every factor, array-wise and as it comes."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokjax.config import defaults
from tokjax.models import streaming
from tokjax.models.streaming import ChunkDecoder, ChunkEncoder
from tokjax.models.tokenizer import Tokenizer, build

CAUSAL = ["causal", "causal_v1_1"]


@cache
def tokenizer(causality="causal", factor=4, quantizer="kl"):
    """Random weights; halves and doubles time at as many levels as the factor asks for, and both sides at them too."""
    config, steps = defaults().model, int(np.log2(factor))
    config.update({"causality": causality, "channels": 3, "channel_multipliers": (1,) * (steps + 1), "blocks_per_level": 1})
    config.update({"time_factor": factor, "latent_channels": 2, "remat": causality == "causal_v1_1"})  # which must not matter
    config.update({"time_down": tuple(range(steps)), "time_up": tuple(range(1, steps + 1))})
    config.quantizer.update({"name": quantizer, "levels": (5, 4) if quantizer == "fsq" else ()})
    module, rng = build(config), np.random.default_rng(0)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 1, 8, 8, 3)))["params"]
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32), shapes)
    return Tokenizer(module, {"params": params}, None)


def clip(frames, side=8, batch=1):
    return np.random.default_rng(frames).integers(0, 256, (batch, frames, side, side, 3), np.uint8)


def in_chunks_equals_at_once(causality, factor, chunk_frames):
    one = tokenizer(causality, factor)
    whole = one.encode(clip(4 * factor + 1))
    chunks = one.encode(clip(4 * factor + 1), chunk_frames=chunk_frames)
    np.testing.assert_allclose(chunks.latents, whole.latents, atol=1e-5)
    latents = np.random.default_rng(1).normal(0, 3, whole.latents.shape).astype(np.float32)
    video = one.decode(latents)
    for changing in (whole.latents, video):
        assert np.abs(np.diff(changing, axis=1)).mean() > 0.01  # or else there is nothing to compare
    np.testing.assert_allclose(one.decode(latents, chunk_frames=chunk_frames), video, atol=1e-5)


@pytest.mark.parametrize(
    ("causality", "factor", "latents"), [("causal", 2, 1), pytest.param("causal_v1_1", 4, 2, marks=pytest.mark.slow)]
)
def test_chunks_give_what_the_video_gives_at_once(causality, factor, latents):
    """One and two latents at a time, of five: with middle chunks, and a last one that is shorter."""
    in_chunks_equals_at_once(causality, factor, latents * factor)


@pytest.mark.slow
@pytest.mark.parametrize("causality", CAUSAL)
@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("latents", [1, 2, 3, 4, 5])
def test_chunks_of_every_size(causality, factor, latents):
    in_chunks_equals_at_once(causality, factor, latents * factor)


@pytest.mark.slow
def test_a_length_that_is_padded_in_front_comes_back_the_same_in_chunks():
    one, video = tokenizer("causal_v1_1"), clip(14, batch=2)
    whole = one.reconstruct(video)
    chunks = one.reconstruct(video, chunk_frames=8)
    assert chunks.shape == whole.shape == video.shape and chunks.dtype == np.uint8
    assert np.abs(chunks.astype(int) - whole.astype(int)).max() <= 1  # one where a value lies on a half


@pytest.mark.slow
def test_noise_is_that_of_the_whole_video():
    one, key = tokenizer(), jax.random.key(3)
    whole, chunks = one.encode(clip(17), key), one.encode(clip(17), key, chunk_frames=8)
    np.testing.assert_allclose(chunks.latents, whole.latents, atol=1e-5)
    assert np.abs(whole.latents - one.encode(clip(17)).latents).max() > 0.1


def temporary_bytes(function, *arguments):
    return function.lower(*arguments).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length():
    """From 33 to 129 frames, activations stay those of a chunk: what grows are copies of what goes in and out."""
    one = tokenizer("causal_v1_1", 2)
    module, variables = one.module, one.variables

    def video(frames):
        return jax.ShapeDtypeStruct((1, frames, 32, 32, 3), jnp.uint8)

    def latents(frames):
        return jax.ShapeDtypeStruct((1, (frames + 1) // 2, 16, 16, 2), jnp.float32)

    pixels, numbers = (129 - 33) * 32 * 32 * 3, (129 - 33) // 2 * 16 * 16 * 2
    short, long = (temporary_bytes(streaming.encode_moments, module, variables, video(n), 8) for n in (33, 129))
    assert long - short <= pixels + 4 * 2 * numbers  # a byte for each pixel, and the moments in float32
    short, long = (temporary_bytes(streaming.decode, module, variables, latents(n), 8) for n in (33, 129))
    assert long - short <= 4 * (pixels + numbers)  # the frames and the latents in float32
    whole = jax.jit(lambda v, z: module.apply(v, z, method="decode"))
    assert temporary_bytes(whole, variables, latents(129)) > 2 * long  # at once, activations do grow


@pytest.mark.slow
@pytest.mark.parametrize("causality", CAUSAL)
@pytest.mark.parametrize("known", [True, False])
def test_a_video_that_comes_frame_by_frame(causality, known):
    one, video = tokenizer(causality, 2, "fsq"), clip(9, side=7)
    encoder = ChunkEncoder(one, 9 if known else None)
    found = [encoder.push(video[:, start : start + 2]) for start in range(0, 9, 2)] + [encoder.finish()]
    found = [part for part in found if part is not None]
    whole = one.encode(video)
    np.testing.assert_allclose(np.concatenate([part.latents for part in found], 1), whole.latents, atol=1e-5)
    np.testing.assert_array_equal(np.concatenate([part.indices for part in found], 1), whole.indices)
    decoder = ChunkDecoder(one, (9, 7, 7), np.uint8)
    frames = [decoder.push(np.asarray(whole.indices)[:, n : n + 1]) for n in range(5)] + [decoder.finish()]
    # Frames come as soon as they are known; v1.1 puts one before the clip, which is cut off again.
    lengths = [0 if part is None else part.shape[1] for part in frames]
    assert lengths == ([0, 1, 2, 2, 2, 2] if causality == "causal" else [0, 0, 2, 2, 2, 3])
    again = np.concatenate([part for part in frames if part is not None], axis=1)
    assert again.shape == video.shape and again.dtype == np.uint8
    assert np.abs(again.astype(int) - one.decode(whole).astype(int)).max() <= 1


@pytest.mark.slow
def test_a_length_that_nobody_knew_is_filled_up_at_its_end():
    one, video = tokenizer("causal_v1_1", 2), clip(8)
    encoder, decoder = ChunkEncoder(one), ChunkDecoder(one)
    found = [encoder.push(video[:, :5]), encoder.push(video[:, 5:]), encoder.finish()]
    assert [part.latents.shape[1] for part in found] == [3, 1, 1]
    frames = [decoder.push(part.latents) for part in found] + [decoder.finish()]
    longer = np.concatenate([video, video[:, -1:]], axis=1).astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(np.concatenate(frames, axis=1), one.reconstruct(longer), atol=1e-5)


def test_what_cannot_come_in_chunks_is_refused_in_a_sentence():
    noncausal = tokenizer("noncausal")
    for refused in (ChunkEncoder, ChunkDecoder):
        with pytest.raises(ValueError, match="this model sees a whole clip at once, so chunks would not"):
            refused(noncausal)
    encoder = ChunkEncoder(tokenizer(), 9)
    encoder.push(clip(8))
    with pytest.raises(ValueError, match="9 frames were announced, but 8 came"):
        encoder.finish()
    with pytest.raises(ValueError, match=r"a video has the shape \[batch, time, height, width, 3\]"):
        encoder.push(clip(3)[0])
    assert ChunkEncoder(tokenizer()).finish() is None and ChunkDecoder(tokenizer()).finish() is None
