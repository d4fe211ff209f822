"""Random areas and colours: inside, of the shares and ratios that were asked for, and as Pillow changes colours."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tokjax.data.augment import coloured, jitter, random_area


@pytest.mark.parametrize("size", [(40, 60), (200, 30), (7, 7)])
def test_areas_lie_inside_and_have_the_share_and_ratio(size):
    rng, (height, width) = np.random.default_rng(0), size
    drawn = [random_area(height, width, (0.3, 0.6), rng) for _ in range(400)]
    for top, left, high, wide in drawn:
        assert top >= 0 and left >= 0 and high >= 1 and wide >= 1 and top + high <= height and left + wide <= width
    if size == (40, 60):
        shares = np.array([high * wide / (height * width) for _, _, high, wide in drawn])
        assert 0.27 < shares.min() < 0.33 and 0.57 < shares.max() < 0.63 and abs(shares.mean() - 0.45) < 0.02
        ratios = np.log([wide / high for _, _, high, wide in drawn])
        assert np.log(3 / 4) - 0.05 < ratios.min() < -0.2 and abs(ratios.mean()) < 0.03
        assert len({(top, left) for top, left, _, _ in drawn}) > 100


def test_where_no_area_fits_the_largest_allowed_one_in_the_middle_is_taken():
    assert random_area(400, 10, (0.9, 1.0), np.random.default_rng(0)) == (193, 0, 13, 10)
    assert random_area(10, 400, (0.9, 1.0), np.random.default_rng(0)) == (0, 193, 10, 13)


@pytest.mark.parametrize(("name", "place"), [("Brightness", 0), ("Contrast", 1), ("Color", 2)])
@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4])
def test_colours_change_as_pillow_changes_them(name, place, factor):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    factors = [1.0, 1.0, 1.0]
    factors[place] = factor
    theirs = np.asarray(getattr(ImageEnhance, name)(Image.fromarray(pixels)).enhance(factor)).astype(int)
    assert np.abs(coloured(pixels[None], *factors)[0].astype(int) - theirs).max() <= 2


def test_one_draw_serves_the_whole_clip_and_stays_within_its_strength():
    clip = np.full((3, 4, 4, 3), (90, 100, 110), np.uint8)
    clip[1] += 20
    for seed in range(20):
        one = jitter(clip, 0.2, np.random.default_rng(seed))
        np.testing.assert_array_equal(one[0], one[2])
        assert 0.8 * 0.9 * 90 < one.mean() < 1.2 * 1.1 * 130
    assert len({jitter(clip, 0.2, np.random.default_rng(seed)).tobytes() for seed in range(5)}) == 5
