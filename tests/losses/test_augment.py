"""DiffAugment against loops over pixels, and the ranges of its random numbers."""

import jax
import numpy as np
import omni_weights
import pytest

from tokjax.losses.augment import Draws, apply, augment, draw

RNG = np.random.default_rng(0)
FRAMES = RNG.uniform(-1, 1, (3, 10, 16, 3)).astype(np.float32)
DRAWS = Draws(
    *np.array([[0.9, 0.1, 0.5], [0.0, 1.0, 0.25], [0.2, 0.7, 0.5]], np.float32),
    *np.array([[1, -1, 0], [-2, 2, 0], [0, 10, 5], [16, 0, 8]]),
)


def brute(frame, draws, policy):
    """One frame, pixel by pixel."""
    frame = frame.astype(np.float64)
    (height, width), policy = frame.shape[:2], policy.split(",")
    if "color" in policy:
        frame = frame + 2 * (draws.brightness - 0.5)
        grey = frame.mean(-1, keepdims=True)
        frame = grey + 2 * draws.saturation * (frame - grey)
        frame = frame.mean() + (draws.contrast + 0.5) * (frame - frame.mean())
    if "translation" in policy:
        moved = np.zeros_like(frame)
        for i in range(height):
            for j in range(width):
                y, x = i + draws.shift_y, j + draws.shift_x
                if 0 <= y < height and 0 <= x < width:
                    moved[i, j] = frame[y, x]
        frame = moved
    if "cutout" in policy:
        for r in range(int(0.2 * height + 0.5)):
            for s in range(int(0.2 * width + 0.5)):
                i = np.clip(r + draws.centre_y - int(0.2 * height + 0.5) // 2, 0, height - 1)
                j = np.clip(s + draws.centre_x - int(0.2 * width + 0.5) // 2, 0, width - 1)
                frame[i, j] = 0
    return frame


@pytest.mark.parametrize("policy", ["color", "translation", "cutout", "color,translation,cutout"])
def test_against_loops(policy):
    ours = apply(FRAMES, DRAWS, policy)
    for n in range(3):
        theirs = brute(FRAMES[n], Draws(*(values[n] for values in DRAWS)), policy)
        np.testing.assert_allclose(ours[n], theirs, atol=1e-6)


def test_against_the_original(golden):
    arrays, _ = omni_weights.read_golden(golden("omnitokenizer/diffaug.npz"))
    numbers = [arrays[name].reshape(-1) for name in sorted(arrays) if name.startswith("in/rng_")]
    ours = apply(2 * np.moveaxis(arrays["in/x"], 1, -1), Draws(*numbers)) / 2  # of pixels in half the range
    np.testing.assert_allclose(np.moveaxis(np.asarray(ours), -1, 1), arrays["out/y"], atol=1e-6)


def test_the_numbers_drawn():
    """Uniform colours; whole shifts up to an eighth either way and centres of boxes anywhere, each of them drawn."""
    draws = draw(jax.random.key(0), 2000, 10, 16)
    for values in draws[:3]:
        assert values.min() >= 0 and values.max() < 1 and abs(values.mean() - 0.5) < 0.03
    expected = [range(-1, 2), range(-2, 3), range(11), range(16)]  # boxes are 2 high and 3 wide
    assert [set(np.asarray(values).tolist()) for values in draws[3:]] == [set(numbers) for numbers in expected]


def test_videos_frame_by_frame_and_gradients_flow():
    video = RNG.uniform(-1, 1, (2, 3, 8, 8, 3)).astype(np.float32)
    once, again, other = (augment(video, jax.random.key(seed)) for seed in (1, 1, 2))
    assert once.shape == video.shape
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)
    same = augment(np.broadcast_to(video[:1, :1], video.shape), jax.random.key(1))
    assert len({frame.tobytes() for frame in np.asarray(same).reshape(6, -1)}) == 6  # each frame has numbers of its own
    slope = jax.grad(lambda video: augment(video, jax.random.key(1), "color").sum())(video)
    assert np.all(np.isfinite(slope)) and np.any(np.asarray(slope) != 0)


def test_an_unknown_policy():
    with pytest.raises(ValueError, match="no augmentation 'colour'; those there are: color, translation, cutout"):
        augment(FRAMES[None], jax.random.key(0), "colour,cutout")
