"""Resize and crop against the published pipeline's numbers; random crops and flips against their definition."""

import json

import numpy as np
import pytest
from clips import a_stream

from tokjax.data.transforms import centre_crop, random_crop, resize_short_side, transform


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
