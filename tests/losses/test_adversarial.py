"""The adversarial losses against their definitions, in numbers that a pocket calculator gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokjax.losses.adversarial import (
    KINDS,
    accuracy,
    adaptive_weight,
    discriminator_loss,
    feature_matching,
    generator_loss,
    lecam,
    start_and_ramp,
    update_averages,
)

# Two samples with two logits each: means 2 and -0.5.
FAKE = np.array([[1.0, 3.0], [-2.0, 1.0]], np.float32).reshape(2, 1, 1, 2)
REAL = np.array([[0.5, 2.0], [-1.0, 4.0]], np.float32).reshape(2, 1, 1, 2)


def softplus(x):
    return np.log1p(np.exp(np.float64(x)))


GENERATOR = {
    "hinge": -0.75,
    "vanilla": -0.75,
    "non_saturating": np.mean([softplus(-x) for x in (1, 3, -2, 1)]),
    "hinge_cross_entropy": (softplus(-2) + softplus(0.5)) / 2,
    "vanilla_cross_entropy": (softplus(-2) + softplus(0.5)) / 2,
}
HINGE = (np.mean([0.5, 0, 2, 0]) + np.mean([2, 4, 0, 2])) / 2
LOGISTIC = (np.mean([softplus(-x) for x in (0.5, 2, -1, 4)]) + np.mean([softplus(x) for x in (1, 3, -2, 1)])) / 2


@pytest.mark.parametrize("kind", KINDS)
def test_both_sides_of_each_kind(kind):
    assert generator_loss(FAKE, kind) == pytest.approx(GENERATOR[kind], rel=1e-6)
    assert discriminator_loss(REAL, FAKE, kind) == pytest.approx(HINGE if "hinge" in kind else LOGISTIC, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_each_side_pulls_its_own_way(kind):
    assert np.all(np.asarray(jax.grad(generator_loss)(FAKE, kind)) < 0)
    of_real, of_fake = jax.grad(discriminator_loss, (0, 1))(REAL, FAKE, kind)
    assert np.all(np.asarray(of_real) <= 0) and np.all(np.asarray(of_fake) >= 0)
    assert np.any(np.asarray(of_real) < 0) and np.any(np.asarray(of_fake) > 0)


def test_accuracy_is_the_share_of_right_signs():
    assert accuracy(REAL, FAKE) == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert accuracy(jnp.ones(3), -jnp.ones(5)) == 1


def test_lecam():
    averages = update_averages(jnp.array([1.0, -1.0]), REAL, FAKE, decay=0.9)
    np.testing.assert_allclose(averages, [0.9 * 1 + 0.1 * 1.375, 0.9 * -1 + 0.1 * 0.75], rtol=1e-6)
    real, fake = averages
    expected = np.mean(np.maximum(REAL - fake, 0) ** 2) + np.mean(np.maximum(real - FAKE, 0) ** 2)
    assert lecam(REAL, FAKE, averages) == pytest.approx(float(expected), rel=1e-6)
    moved = jax.grad(lambda real: jnp.sum(update_averages(averages, real, FAKE)))(REAL)
    np.testing.assert_array_equal(moved, 0)  # averages are constants


def test_features_are_matched_by_the_reconstruction_alone():
    real, fake = [np.array([1.0, 2.0]), np.array([[3.0]])], [np.array([0.0, 4.0]), np.array([[-1.0]])]
    assert feature_matching(real, fake) == pytest.approx(1.5 + 4)
    of_real, of_fake = jax.grad(feature_matching, (0, 1))(real, fake)
    assert all(np.all(leaf == 0) for leaf in of_real)
    np.testing.assert_allclose(of_fake[0], [-0.5, 0.5])


def test_adaptive_weight():
    one, other = np.array([3.0, 4.0], np.float32), np.array([[0.0, 0.5]], np.float32)
    assert adaptive_weight(one, other) == pytest.approx(5 / (0.5 + 1e-4), rel=1e-6)
    assert adaptive_weight(one, other, limit=2.0) == 2
    assert adaptive_weight(one, 0 * other) == 1e4
    assert adaptive_weight(0 * one, other) == 0
    np.testing.assert_array_equal(jax.grad(adaptive_weight)(one, other), 0)


def test_start_and_ramp():
    steps = np.arange(8)
    np.testing.assert_array_equal(start_and_ramp(steps, 3), [0, 0, 0, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(start_and_ramp(steps, 2, 4), [0, 0, 0.25, 0.5, 0.75, 1, 1, 1])
    assert start_and_ramp(jnp.int32(0), 0) == 1
