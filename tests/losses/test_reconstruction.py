"""The reconstruction loss against its definition, and its gradient."""

import jax
import numpy as np
import pytest

from tokjax.losses.reconstruction import reconstruction_loss

RNG = np.random.default_rng(0)
VIDEO, AGAIN = RNG.normal(size=(2, 2, 3, 4, 5, 3)).astype(np.float32)


@pytest.mark.parametrize(("kind", "distance"), [("l1", np.abs), ("l2", np.square)])
def test_sum_over_a_frame_mean_over_frames(kind, distance):
    each = [distance(VIDEO[b, t].astype(np.float64) - AGAIN[b, t]).sum() for b in range(2) for t in range(3)]
    assert reconstruction_loss(VIDEO, AGAIN, kind) == pytest.approx(np.mean(each), rel=1e-6)


def test_gradients():
    gradient = jax.grad(reconstruction_loss, 1)
    np.testing.assert_allclose(gradient(VIDEO, AGAIN, "l1"), np.sign(AGAIN - VIDEO) / 6, rtol=1e-6)
    np.testing.assert_allclose(gradient(VIDEO, AGAIN, "l2"), 2 * (AGAIN - VIDEO) / 6, rtol=1e-5)


def test_equal_videos_are_at_zero():
    assert reconstruction_loss(VIDEO, VIDEO, "l1") == 0
    assert reconstruction_loss(VIDEO, VIDEO, "l2") == 0
