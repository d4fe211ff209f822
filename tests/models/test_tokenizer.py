"""The public face: what goes in comes out in shape and dtype, all ways to decode agree, and wrong input gets one sentence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_tokenizer import tiny_config, tiny_tokenizer

from tokjax.models.tokenizer import Tokenizer, build
from tokjax.models.values import to_float

KINDS = ["kl", "fsq"]


def clip(frames, height=8, width=12, dtype=np.uint8, batch=1):
    video = np.random.default_rng(frames).integers(0, 256, (batch, frames, height, width, 3), np.uint8)
    return video if dtype == np.uint8 else (video / 127.5 - 1).astype(dtype)


@pytest.mark.parametrize("frames", [1, 2, 17, *(pytest.param(frames, marks=pytest.mark.slow) for frames in (3, 5, 16, 18))])
def test_any_length_comes_back_whole(frames):
    video = clip(frames)
    again = tiny_tokenizer().reconstruct(video)
    assert (again.shape, again.dtype) == (video.shape, np.uint8)
    assert again.std() > 0


@pytest.mark.parametrize("size", [(20, 28), (15, 17), (1, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_any_size_comes_back_whole(size, kind):
    video = clip(2, *size, batch=2)
    encoded = tiny_tokenizer(kind).encode(video)
    assert encoded.latents.shape == (2, 2, -(-size[0] // 2), -(-size[1] // 2), 2)
    again = tiny_tokenizer(kind).decode(encoded)
    assert (again.shape, again.dtype) == (video.shape, np.uint8)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, jnp.bfloat16])
def test_floats_keep_their_dtype(dtype):
    video = clip(3, dtype=dtype)
    again = tiny_tokenizer().reconstruct(video)
    assert (again.shape, again.dtype) == (video.shape, np.dtype(dtype))


def test_uint8_and_float_are_the_same_video():
    tokenizer, video = tiny_tokenizer(), clip(3)
    as_float = tokenizer.reconstruct(video.astype(np.float32) / 127.5 - 1)
    expected = np.clip(np.round((as_float.astype(np.float64) + 1) * 127.5), 0, 255)
    assert np.abs(tokenizer.reconstruct(video).astype(int) - expected).max() <= 1  # one where a value lies on a half


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [1, 5])
def test_a_whole_clip_is_encoded_as_the_module_does(kind, frames):
    tokenizer, video = tiny_tokenizer(kind), clip(frames)
    encoded = tokenizer.encode(video)
    apply = jax.jit(lambda v, x: tokenizer.module.apply(v, to_float(x), method="encode"))
    expected = apply(tokenizer.variables, video)
    np.testing.assert_array_equal(encoded.latents, expected.latents)
    assert (encoded.indices is None) == (kind == "kl")
    if kind == "fsq":
        np.testing.assert_array_equal(encoded.indices, expected.indices)
        assert encoded.indices.dtype == np.int32


def test_another_length_and_size_is_padded_with_its_edge():
    tokenizer, video = tiny_tokenizer(), clip(4, 7, 11)
    padded = np.pad(video, ((0, 0), (0, 1), (0, 1), (0, 1), (0, 0)), mode="edge")
    np.testing.assert_array_equal(tokenizer.encode(video).latents, tokenizer.encode(padded).latents)
    np.testing.assert_array_equal(tokenizer.reconstruct(video), tokenizer.reconstruct(padded)[:, :4, :7, :11])


@pytest.mark.parametrize("kind", KINDS)
def test_all_ways_to_decode_agree(kind):
    tokenizer, video = tiny_tokenizer(kind), clip(4, 7, 12, np.float32)
    encoded = tokenizer.encode(video)
    again = tokenizer.decode(encoded)
    whole = tokenizer.decode(np.asarray(encoded.latents))
    assert whole.shape == (1, 5, 8, 12, 3) and whole.dtype == np.float32
    np.testing.assert_array_equal(again, whole[:, :4, :7])
    if kind == "fsq":
        np.testing.assert_array_equal(tokenizer.decode(encoded.indices), whole)
        np.testing.assert_array_equal(tokenizer.decode(np.asarray(encoded.indices, np.int64)), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_frame_of_a_video_is_encoded_as_an_image(kind):
    """A length 1 + multiple of f gets f - 1 copies of frame 0 in front, so the first latent has seen nothing else."""
    tokenizer, video = tiny_tokenizer(kind), clip(5, dtype=np.float32)
    of_image, of_video = tokenizer.encode(video[:, :1]).latents, tokenizer.encode(video).latents
    np.testing.assert_allclose(of_video[:, :1], of_image, atol=2e-6)
    later = video.copy()
    later[:, 1:] = 0
    np.testing.assert_allclose(tokenizer.encode(later).latents[:, :1], of_image, atol=2e-6)
    assert np.abs(np.asarray(tokenizer.encode(later).latents - of_video)[:, 1:]).max() > 1e-3


def test_a_key_draws_around_the_mean():
    tokenizer, video = tiny_tokenizer(), clip(3)
    moments = jax.jit(lambda v, x: tokenizer.module.apply(v, x, method="moments"))(
        tokenizer.variables, to_float(jnp.asarray(video))
    )
    mean, log_variance = jnp.split(moments, 2, axis=-1)
    noise = jax.random.normal(jax.random.key(5), mean.shape)
    expected = mean + jnp.exp(log_variance / 2) * noise
    np.testing.assert_allclose(tokenizer.encode(video, jax.random.key(5)).latents, expected, atol=1e-5)


def with_nan():
    video = clip(3, dtype=np.float32)
    video[0, 2, 1, 1, 0] = np.nan
    return video


@pytest.mark.parametrize(
    ("kind", "call", "wrong", "message"),
    [
        ("kl", "encode", with_nan(), "the video holds values that are not finite"),
        ("kl", "encode", clip(3)[0], r"this array has \(3, 8, 12, 3\)"),
        ("kl", "encode", np.moveaxis(clip(3), -1, 1), r"a video has the shape \[batch, time, height, width, 3\]"),
        ("kl", "encode", clip(3)[:, :0], r"this array has \(1, 0, 8, 12, 3\)"),
        ("kl", "encode", clip(3).astype(np.int32), "uint8 in 0..255 or float in -1..1, not int32"),
        ("kl", "reconstruct", clip(3) > 9, "not bool"),
        ("kl", "encode", clip(3).tolist(), "a video must be a numpy or jax array, not builtins.list"),
        ("kl", "decode", [[1, 2]], "what is decoded must be a numpy or jax array, not builtins.list"),
        ("kl", "decode", np.zeros((1, 1, 4, 4, 3), np.float32), "these latents have 3 channels, but this model's have 2"),
        ("kl", "decode", np.zeros((1, 1, 4, 4), np.int32), "continuous latents and no codes"),
        ("fsq", "decode", np.full((1, 1, 4, 4), 20), r"indices must lie in 0..19; these reach from 20 to 20"),
        ("fsq", "decode", np.full((1, 1, 4, 4), -1), r"indices must lie in 0..19"),
        ("fsq", "decode", np.zeros((1, 1, 4, 4), np.float32), r"float latents \[b,t,h,w,2\] or integer indices"),
        ("fsq", "decode", np.zeros((1, 4, 4), np.int32), r"not int32 \(1, 4, 4\)"),
    ],
)
def test_wrong_input_is_one_sentence(kind, call, wrong, message):
    with pytest.raises(ValueError, match=message) as caught:
        getattr(tiny_tokenizer(kind), call)(wrong)
    assert "\n" not in str(caught.value)


def of_family(causality):
    """The tiny tokenizer's weights as another family, all of which have the same parameters."""
    one, config = tiny_tokenizer(), tiny_config()
    config.model.causality = causality
    return Tokenizer(build(config.model), one.variables, config)


@pytest.mark.parametrize(
    ("causality", "frames", "pads"),
    [
        ("causal", 2, (0, 1)),
        ("causal_v1_1", 3, (1, 0)),
        ("noncausal", 1, (0, 1)),
    ],
)
def test_each_family_pads_time_in_its_own_way_and_all_give_back_any_length(causality, frames, pads):
    tokenizer, video = of_family(causality), clip(frames, 3, 4, np.float32)
    module = tokenizer.module
    assert module.pad_frames(frames) == pads and module.pad_sides(3, 4) == (4, 4)
    encoded = tokenizer.encode(video)
    assert encoded.latents.shape[1:] == module.latent_shape(frames + sum(pads), 4, 4)
    padded = np.pad(video, ((0, 0), pads, (0, 1), (0, 0), (0, 0)), mode="edge")
    decode = jax.jit(lambda v, x: module.apply(v, module.apply(v, x, method="encode").latents, method="decode"))
    whole = decode(tokenizer.variables, padded)
    assert whole.shape[1] == frames + sum(pads)
    again = tokenizer.decode(encoded)
    assert again.shape == video.shape
    np.testing.assert_allclose(again, whole[:, pads[0] : pads[0] + frames, :3], atol=1e-5)


def test_a_later_frame_reaches_an_earlier_latent_only_without_causality():
    video = clip(4, dtype=np.float32)
    later = video.copy()
    later[:, 2:] = 0
    moved = {}
    for causality in ("causal", "causal_v1_1", "noncausal"):
        tokenizer = of_family(causality)
        pair = [np.asarray(tokenizer.encode(one).latents[:, 0]) for one in (video, later)]
        moved[causality] = np.abs(pair[0] - pair[1]).max()
    assert moved["causal"] < 1e-5 and moved["causal_v1_1"] < 1e-5 and moved["noncausal"] > 1e-2


def test_a_clip_shorter_than_a_latent_is_refused_by_a_non_causal_module():
    tokenizer = of_family("noncausal")
    with pytest.raises(ValueError, match="a non-causal model needs clips of at least 2 frames; this one has 1"):
        tokenizer.module.apply(tokenizer.variables, jnp.zeros((1, 1, 4, 4, 3)), method="moments")


@pytest.mark.parametrize(
    ("causality", "arguments", "message"),
    [
        (
            "causal",
            {"chunk_frames": 5},
            "chunk_frames is 5, but must be a positive multiple of the 2 frames .* nearest are 4 and 6",
        ),
        ("causal", {"chunk_frames": 0}, "chunk_frames is 0, but must be a positive multiple .* nearest are 2 and 4"),
        ("noncausal", {"chunk_frames": 4}, "this model sees a whole clip at once, so chunks would not"),
        ("causal", {"chunk_frames": 4, "mode": "upstream"}, "mode='upstream' exists for VidTok's causal v1.1 models only"),
        ("causal_v1_1", {"mode": "upstream"}, "mode='upstream' is a way to cut a video into chunks; give chunk_frames too"),
        ("causal", {"mode": "fast"}, "mode must be exact or upstream, not 'fast'"),
    ],
)
def test_chunks_that_cannot_be_are_refused_in_a_sentence(causality, arguments, message):
    tokenizer = of_family(causality)
    for call, given in ((tokenizer.encode, clip(5)), (tokenizer.decode, np.zeros((1, 2, 4, 4, 2), np.float32))):
        with pytest.raises(ValueError, match=message) as caught:
            call(given, **arguments)
        assert "\n" not in str(caught.value)
