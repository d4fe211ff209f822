"""Long videos part by part: the tokens and frames of the whole video in one piece, in memory that does not grow."""

import tracemalloc
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_omnitokenizer as tiny_omni
from tiny_tokenizer import tiny_config

from tokjax.config import stream
from tokjax.conversion.long_video import decode_frames, encode_frames, header_of, make_cut, reconstruct_frames
from tokjax.conversion.media import Media
from tokjax.data.decode import write_video
from tokjax.data.sources import DataError
from tokjax.models.tokenizer import Tokenizer, build

FAMILIES = ["causal", "causal_v1_1", "noncausal"]


@cache
def tokenizer_of(causality, quantizer="fsq"):
    """A latent covers 4 frames of 4 x 4 pixels."""
    config, rng = tiny_config(quantizer), np.random.default_rng(0)
    config.model.update({"causality": causality, "channel_multipliers": (1, 1, 1), "time_factor": 4})
    module = build(config.model)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 4, 4, 4, 3)))["params"]
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.2, leaf.shape), jnp.float32), shapes)
    return Tokenizer(module, {"params": params}, config)


def noise(frames):
    return np.random.default_rng(frames).integers(0, 256, (frames, 7, 10, 3), np.uint8)


class Pretended:
    """What `header_of` asks of a file that has been read."""

    def __init__(self, video, announced=None):
        self.frames, (self.height, self.width) = len(video), video.shape[1:3]
        self.frame_rate, self.announced = 8.0, announced or len(video)


def there_and_back(tokenizer, video, cut, other_cut, announced=None):
    media = Pretended(video, announced)
    parts = list(encode_frames(tokenizer, iter(video), media.announced, cut))
    frames = list(decode_frames(tokenizer, header_of(tokenizer, media, cut), parts, other_cut))
    return np.concatenate(parts), np.stack(frames)


def assert_same_pixels(found, expected):
    """Up to one grey level, where a value lies on a half."""
    assert found.shape == expected.shape and found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("causality", "frames"), [("causal", 1), pytest.param("causal_v1_1", 10, marks=pytest.mark.slow)])
def test_a_stream_is_the_whole_video(causality, frames):
    tokenizer, video = tokenizer_of(causality), noise(frames)
    whole = tokenizer.encode(video[None])
    cut = make_cut(tokenizer, 4)
    codes, again = there_and_back(tokenizer, video, cut, cut)
    np.testing.assert_array_equal(codes, whole.indices[0])
    assert_same_pixels(again, tokenizer.decode(whole)[0])
    found = list(reconstruct_frames(tokenizer, iter(video), frames, cut))
    assert_same_pixels(np.stack(found), tokenizer.decode(whole)[0])


@pytest.mark.slow
@pytest.mark.parametrize("announced", [1, 9, 12])
def test_a_video_of_another_length_than_announced_keeps_its_own(announced):
    """It is encoded as if it went on with its last frame."""
    tokenizer, video = tokenizer_of("causal_v1_1"), noise(10)
    longer = np.concatenate([video, video[-1:].repeat((announced - 10) % 4, axis=0)])
    whole, cut = tokenizer.encode(longer[None]), make_cut(tokenizer, 4)
    codes, again = there_and_back(tokenizer, video, cut, cut, announced)
    np.testing.assert_array_equal(codes, whole.indices[0])
    assert_same_pixels(again, tokenizer.decode(whole)[0, :10])
    found = list(reconstruct_frames(tokenizer, iter(video), announced, cut, side_by_side=True))
    assert_same_pixels(np.stack(found), np.concatenate([video, tokenizer.decode(whole)[0, :10]], axis=2))


@pytest.mark.parametrize("frames", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_model_that_is_not_causal_takes_clips_of_its_training_length(frames):
    """5 frames, padded to 8."""
    tokenizer, video = tokenizer_of("noncausal"), noise(frames)
    cut = make_cut(tokenizer)
    assert (cut.frames, cut.streamed) == (8, False)
    clips = [tokenizer.encode(video[None, start : start + 8]) for start in range(0, frames, 8)]
    codes, again = there_and_back(tokenizer, video, cut, cut)
    np.testing.assert_array_equal(codes, np.concatenate([clip.indices[0] for clip in clips]))
    assert_same_pixels(again, np.concatenate([tokenizer.decode(clip)[0] for clip in clips]))
    found = list(reconstruct_frames(tokenizer, iter(video), frames, cut))
    assert_same_pixels(np.stack(found), again)
    with pytest.raises(ValueError, match="this model sees a whole clip at once, so chunks would not"):
        make_cut(tokenizer, 4)


@pytest.mark.slow
def test_an_omnitokenizer_takes_clips_too_and_may_enlarge():
    """16 frames and one, or those of its training; twice as high and wide."""
    model, config = (make("vq", mode="sound", upscale=2) for make in (tiny_omni.tiny_omnitokenizer, tiny_omni.tiny_config))
    tokenizer, video = Tokenizer(model, tiny_omni.random_variables(model), config), noise(6)
    assert make_cut(tokenizer).frames == 17
    config.data.train.clips = stream("videos", "videos", frames=3, resolution=8)
    cut = make_cut(tokenizer)
    assert (cut.frames, cut.streamed) == (3, False)
    clips = [tokenizer.encode(video[None, start : start + 3]) for start in (0, 3)]
    codes, again = there_and_back(tokenizer, video, cut, cut)
    np.testing.assert_array_equal(codes, np.concatenate([clip.indices[0] for clip in clips]))
    assert again.shape == (6, 14, 20, 3)
    assert_same_pixels(again, np.concatenate([tokenizer.decode(clip)[0] for clip in clips]))
    both = np.stack(list(reconstruct_frames(tokenizer, iter(video), 6, cut, side_by_side=True)))
    np.testing.assert_array_equal(both[:, :, :20], np.kron(video, np.ones((1, 2, 2, 1), np.uint8)))
    assert_same_pixels(both[:, :, 20:], again)


def test_chunks_are_16_frames_or_more_in_whole_latents():
    assert make_cut(tokenizer_of("causal")).frames == 16
    with pytest.raises(ValueError, match="the nearest are 4 and 8"):
        make_cut(tokenizer_of("causal"), 6)


def endless(count, held):
    """Frames, and what is held on the device and by Python when every 16th is made."""
    frame = noise(1)[0]
    for number in range(count):
        if number % 16 == 0:
            held.append((sum(array.nbytes for array in jax.live_arrays()), tracemalloc.get_traced_memory()[0]))
        yield frame + np.uint8(number % 256)


@pytest.mark.slow
@pytest.mark.parametrize("causality", FAMILIES)
def test_memory_does_not_grow_with_the_length(causality):
    """The least in 20 chunks early on and in the last 20: 40 chunks are 134,400 bytes of pixels, 7,680 of latents."""
    tokenizer, held = tokenizer_of(causality), []
    list(reconstruct_frames(tokenizer, endless(96, []), 96, make_cut(tokenizer)))  # compiles
    tracemalloc.start()
    for _ in reconstruct_frames(tokenizer, endless(70 * 16, held), 70 * 16, make_cut(tokenizer)):
        pass
    tracemalloc.stop()
    early, late = np.min(held[10:30], axis=0), np.min(held[50:], axis=0)
    assert late[0] <= early[0] + 1000 and late[1] <= early[1] + 60_000


@pytest.mark.slow
def test_nobody_runs_far_ahead():
    """At most 5 chunks are between the reader and the one who takes the frames: what each thread holds and has ready."""
    tokenizer, made = tokenizer_of("causal"), []

    def frames():
        for number in range(400):
            made.append(number)
            yield noise(1)[0]

    for taken, _ in enumerate(reconstruct_frames(tokenizer, frames(), 400, make_cut(tokenizer, 4))):
        assert len(made) <= taken + 6 * 4
    assert len(made) == 400 == taken + 1


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv"])
def test_a_file_is_read_frame_by_frame(tmp_path, name):
    """The header of .mp4 knows the number of frames, that of .mkv does not."""
    write_video(tmp_path / name, noise(6), 12.5)
    media = Media(tmp_path / name)
    assert (media.announced, media.frames, media.height, media.width, media.frame_rate) == (6, 0, 7, 10, 12.5)
    frames = iter(media)
    assert [next(frames).shape for _ in range(2)] == [(7, 10, 3)] * 2 and media.frames == 2


def test_frames_that_change_their_size_are_refused(tmp_path, monkeypatch):
    write_video(tmp_path / "in.mp4", noise(3), 8)
    frames = [*noise(2), np.zeros((7, 9, 3), np.uint8)]
    monkeypatch.setattr("tokjax.conversion.media.read_video", lambda path: (iter(frames), 8.0))
    with pytest.raises(DataError, match=r"in.mp4: frame 2 is of another size"):
        list(reconstruct_frames(tokenizer_of("causal"), Media(tmp_path / "in.mp4"), 3, make_cut(tokenizer_of("causal"))))
