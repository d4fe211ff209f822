"""Resize and crop against the published pipeline's numbers; random crops and flips against their definition."""

import json

import numpy as np
import pytest
from clips import a_stream

from tokjax.data.transforms import centre_crop, random_crop, resize, resize_short_side, transform


def test_resize_and_centre_crop_equal_the_published_pipeline(golden):
    data = np.load(golden("vidtok/unit_metrics_data_ema.npz"))
    for i, case in enumerate(json.loads(str(data["meta"]))["resize_cases"]):
        clip = data[f"in:img{i}"].transpose(0, 2, 3, 1)
        ours = centre_crop(resize_short_side(clip, case["h"]), case["h"], case["w"])
        theirs = (data[f"out:img{i}/out"].transpose(0, 2, 3, 1) + 1) * 127.5
        np.testing.assert_allclose(ours.astype(float), theirs, atol=1.0 + 1e-4)


@pytest.mark.parametrize(("given", "offset"), [(10, 3), (9, 2), (11, 4), (7, 2), (4, 0)])
def test_centre_crop_rounds_half_to_even(given, offset):
    clip = np.arange(given)[None, :, None, None] * np.ones((1, 1, 6, 1), int)
    assert centre_crop(clip, 4, 6)[0, 0, 0, 0] == offset


def test_centre_crop_fills_what_is_missing_with_zeros():
    padded = centre_crop(np.ones((1, 3, 8, 1), np.uint8), 6, 8)
    assert padded[0, :, 0, 0].tolist() == [0, 1, 1, 1, 0, 0]


def test_random_crops_reach_every_position_and_serve_the_whole_clip():
    clip = np.arange(5 * 4).reshape(1, 5, 4, 1).repeat(3, axis=0)
    rng = np.random.default_rng(0)
    crops = [random_crop(clip, 3, rng) for _ in range(100)]
    assert {int(crop[0, 0, 0, 0]) for crop in crops} == {row * 4 + column for row in range(3) for column in range(2)}
    assert all((crop == crop[:1]).all() for crop in crops)


def test_half_of_the_clips_are_mirrored_and_none_in_evaluation():
    clip = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    stream = a_stream("images", "")
    rng = np.random.default_rng(0)
    drawn = [transform(clip, stream, rng) for _ in range(200)]
    flipped = sum(np.array_equal(one, clip[:, :, ::-1]) for one in drawn)
    assert flipped + sum(np.array_equal(one, clip) for one in drawn) == 200 and 70 < flipped < 130
    assert all(np.array_equal(transform(clip, stream | {"flip": False}, rng), clip) for _ in range(10))
    assert np.array_equal(transform(clip, stream, None), clip)


@pytest.mark.parametrize(("height", "width"), [(100, 30), (30, 100), (16, 16), (20, 24)])
def test_any_size_becomes_the_resolution(height, width):
    clip = np.zeros((2, height, width, 3), np.uint8)
    for short_side in (0, 20):
        stream = a_stream("images", "", short_side=short_side)
        assert transform(clip, stream, np.random.default_rng(0)).shape == (2, 16, 16, 3)


def _weights(given, wanted, how):
    """[wanted, given] of an antialiased resize, from the definition of its filter."""
    scale = given / wanted
    width = max(scale, 1.0)
    rows = np.zeros((wanted, given))
    for place in range(wanted):
        x = np.abs((np.arange(given) + 0.5 - (place + 0.5) * scale) / width)
        if how == "bilinear":
            rows[place] = np.maximum(0, 1 - x)
        else:  # Keys' cubic with a = -1/2
            rows[place] = np.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))
        rows[place] /= rows[place].sum()
    return rows


@pytest.mark.parametrize("how", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(9, 7), (40, 31), (20, 26)])
def test_resize_is_its_antialiased_definition(how, size):
    clip = np.random.default_rng(0).integers(0, 256, (2, 20, 26, 3), np.uint8)
    across = np.einsum("wx,tyxc->tywc", _weights(26, size[1], how), clip)
    expected = np.einsum("hy,tywc->thwc", _weights(20, size[0], how), np.clip(np.floor(across + 0.5), 0, 255))
    np.testing.assert_allclose(resize(clip, *size, how), np.clip(expected, 0, 255), atol=1.0)


def test_squash_takes_the_whole_frame_whatever_its_proportions():
    clip = np.random.default_rng(0).integers(0, 256, (1, 30, 50, 3), np.uint8)
    stream = a_stream("images", "", crop="squash", resize="bicubic", flip=False)
    for rng in (None, np.random.default_rng(0)):
        np.testing.assert_array_equal(transform(clip, stream, rng), resize(clip, 16, 16, "bicubic"))


def test_random_areas_are_drawn_once_for_a_clip_and_not_in_evaluation():
    clip = np.random.default_rng(0).integers(0, 256, (1, 30, 50, 3), np.uint8).repeat(2, axis=0)
    stream = a_stream("images", "", crop="random_area", flip=False)
    drawn = [transform(clip, stream, np.random.default_rng(seed)) for seed in range(3)]
    assert all(np.array_equal(one[0], one[1]) for one in drawn) and not np.array_equal(drawn[0], drawn[1])
    centred = transform(clip, stream | {"crop": "centre"}, None)
    np.testing.assert_array_equal(transform(clip, stream, None), centred)


def test_jitter_is_off_unless_asked_for_and_never_in_evaluation():
    clip = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
    stream = a_stream("images", "", flip=False)
    np.testing.assert_array_equal(transform(clip, stream, np.random.default_rng(0)), clip)
    loud = stream | {"colour_jitter": 0.4}
    assert not np.array_equal(transform(clip, loud, np.random.default_rng(0)), clip)
    np.testing.assert_array_equal(transform(clip, loud, None), clip)
