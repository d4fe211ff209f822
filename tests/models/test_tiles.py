"""Tiles: cover every pixel once in sum, have one shape, overlap by a quarter, blend as a straight line."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_tokenizer import tiny_tokenizer

from tokjax.models.tiles import in_tiles, starts
from tokjax.models.values import to_float

VIDEO = np.random.default_rng(0).integers(0, 256, (1, 3, 24, 20, 3), np.uint8)


@pytest.mark.parametrize("size", [4, 5, 8, 11])
def test_tiles_reach_from_end_to_end_and_overlap_by_a_quarter(size):
    for side in range(1, 60):
        found = starts(side, min(size, side))
        assert found[0] == 0 and found[-1] + min(size, side) == side
        assert all(0 < after - before <= 0.75 * size for before, after in itertools.pairwise(found))
        fewest = 1 + max(0, np.ceil((side - size) / np.floor(0.75 * size)))
        assert len(found) == fewest


@pytest.mark.parametrize(("side", "tile"), [(9, 4), (23, 8), (8, 8), (5, 8)])
def test_what_keeps_pixels_keeps_the_frame(side, tile):
    """Exactly an identity on the input's grid, on a grid twice as coarse, and on one twice as fine."""
    x = np.random.default_rng(1).normal(size=(2, 1, 2 * side, 2 * side + 6, 3)).astype(np.float32)
    seen = set()

    def same(number, part):
        seen.add(part.shape)
        return part

    np.testing.assert_allclose(in_tiles(same, x, (tile, tile), 2), x, atol=1e-6)
    assert len(seen) == 1
    coarse = in_tiles(lambda number, part: part[:, :, ::2, ::2], x, (tile, tile), 2)
    np.testing.assert_allclose(coarse, x[:, :, ::2, ::2], atol=1e-6)
    fine = in_tiles(lambda number, part: part.repeat(2, 2).repeat(2, 3), x, (tile, tile), 1)
    np.testing.assert_allclose(fine, x.repeat(2, 2).repeat(2, 3), atol=1e-6)


def test_the_blend_of_two_tiles_is_a_straight_line():
    """Two tiles of 8 in a side of 12 begin at 0 and 4: from 0 to 1 over the 4 pixels from 4 to 8, at their centres."""
    x = np.zeros((1, 1, 8, 12, 1), np.float32)
    found = in_tiles(lambda number, part: part + number, x, (8, 8), 1)[0, 0, :, :, 0]
    expected = [0, 0, 0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1, 1, 1]
    np.testing.assert_allclose(found, np.tile(expected, (8, 1)), atol=1e-6)


def by_hand(run, x, size, at, scale_in, scale_out):
    """Pasted one after the other, each over what is there, with a ramp along its upper and its left overlap."""
    rows = []
    for top in at[0]:
        row = None
        for left in at[1]:
            part = x[:, :, top * scale_in : (top + size) * scale_in, left * scale_in : (left + size) * scale_in]
            row = pasted(row, np.asarray(run(part), np.float64), left * scale_out, 3)
        rows.append(row)
    whole = None
    for top, row in zip(at[0], rows, strict=True):
        whole = pasted(whole, row, top * scale_out, 2)
    return whole


def pasted(there, new, start, axis):
    if there is None:
        return new
    there, new = np.moveaxis(there, axis, 0), np.moveaxis(new, axis, 0)
    common = len(there) - start
    ramp = ((np.arange(common) + 0.5) / common).reshape(-1, *[1] * (new.ndim - 1))
    mixed = there[start:] * (1 - ramp) + new[:common] * ramp
    return np.moveaxis(np.concatenate([there[:start], mixed, new[common:]]), 0, axis)


@pytest.mark.slow
def test_encoding_blends_moments_and_decoding_blends_pixels():
    """12 x 10 latents in tiles of 8 x 8, which begin at rows 0 and 4 and columns 0 and 2."""
    tokenizer = tiny_tokenizer("fsq")
    encode = jax.jit(lambda part: tokenizer.module.apply(tokenizer.variables, part, method="moments"))
    decode = jax.jit(lambda part: tokenizer.module.apply(tokenizer.variables, part, method="decode"))
    moments = by_hand(encode, to_float(jnp.asarray(VIDEO)), 8, ([0, 4], [0, 2]), 2, 1)
    expected = tokenizer.quantize(jnp.asarray(moments, jnp.float32))
    found = tokenizer.encode(VIDEO, tile=(16, 16))
    assert np.mean(np.asarray(found.indices) != np.asarray(expected.indices)) < 0.01  # a value may lie on a border between codes
    assert np.mean(np.asarray(found.indices) != np.asarray(tokenizer.encode(VIDEO).indices)) > 0.01
    pixels = by_hand(decode, found.latents, 8, ([0, 4], [0, 2]), 1, 2)
    again = tokenizer.decode(found.latents, tile=(16, 16))
    np.testing.assert_allclose(again, pixels, atol=1e-4)
    assert np.abs(again - tokenizer.decode(found.latents)).max() > 0.01


@pytest.mark.slow
def test_frames_that_fit_in_a_tile_are_not_changed_by_it():
    tokenizer = tiny_tokenizer()
    whole, tiled = (tokenizer.encode(VIDEO[:, :, :15, :17], tile=tile) for tile in (None, (32, 32)))
    np.testing.assert_allclose(tiled.latents, whole.latents, atol=1e-5)
    np.testing.assert_allclose(tokenizer.decode(whole.latents, tile=(32, 32)), tokenizer.decode(whole.latents), atol=1e-5)
    assert tokenizer.reconstruct(VIDEO[:, :, :15, :17], tile=(16, 16)).shape == (1, 3, 15, 17, 3)


def test_chunks_of_tiles_are_tiles_of_the_whole_video():
    tokenizer = tiny_tokenizer()
    whole = tokenizer.encode(VIDEO, tile=(16, 16))
    np.testing.assert_allclose(tokenizer.encode(VIDEO, tile=(16, 16), chunk_frames=2).latents, whole.latents, atol=1e-5)
    pixels = tokenizer.decode(whole.latents, tile=(16, 16))
    np.testing.assert_allclose(tokenizer.decode(whole.latents, tile=(16, 16), chunk_frames=2), pixels, atol=1e-4)


@pytest.mark.parametrize(
    ("tile", "message"), [((16, 15), r"the next that suit are 16x16"), ((4, 16), r"are 8x16"), ((0, -2), "8x8")]
)
def test_tiles_that_do_not_suit_say_which_do(tile, message):
    for call in (tiny_tokenizer().encode, tiny_tokenizer().reconstruct):
        with pytest.raises(ValueError, match=message):
            call(VIDEO, tile=tile)
