"""Schedules, Adam and clipping against closed forms, and the moving average against VidTok's."""

import json

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tokjax.config import defaults
from tokjax.training.optimizers import make_optimizer, make_schedule, update_average


def settings(**changes) -> dict:
    return {**defaults().optimizer.to_dict(), "clip_norm": 0.0, **changes}


@pytest.mark.parametrize("warmup", [0, 5])
@pytest.mark.parametrize("kind", ["constant", "cosine"])
def test_the_schedule_is_its_closed_form(kind, warmup):
    peak, steps = 3e-4, 40
    schedule = make_schedule(settings(learning_rate=peak, schedule=kind, warmup_steps=warmup), steps)
    for step in range(steps + 1):
        after = peak * 0.5 * (1 + np.cos(np.pi * (step - warmup) / (steps - warmup))) if kind == "cosine" else peak
        expected = peak * step / warmup if step < warmup else after
        np.testing.assert_allclose(schedule(step), expected, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_updates_are_those_of_the_papers(name):
    rate, b1, b2, eps, decay = 0.1, 0.8, 0.95, 1e-2, 0.3
    optimizer = make_optimizer(settings(name=name, learning_rate=rate, b1=b1, b2=b2, eps=eps, weight_decay=decay), 10)
    rng = np.random.default_rng(0)
    params = expected = rng.normal(size=7)
    state, m, v = optimizer.init(jnp.asarray(params)), 0.0, 0.0
    for t in range(1, 6):
        g = rng.normal(size=7)
        updates, state = optimizer.update(jnp.asarray(g), state, jnp.asarray(params))
        params = optax.apply_updates(jnp.asarray(params), updates)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        direction = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
        expected = expected - rate * (direction + (decay * expected if name == "adamw" else 0))
        np.testing.assert_allclose(params, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("limit", "factor"), [(0.0, 1.0), (2.0, 0.4), (5.5, 1.0)])
def test_gradients_are_scaled_to_the_limit_of_their_joint_norm(limit, factor):
    gradients = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([[4.0]])}  # norm 5
    # With b1 = 0 and this eps Adam's first update is -rate * g / (|g| + eps), which tells the size of g.
    optimizer = make_optimizer(settings(learning_rate=1.0, b1=0.0, eps=10.0, clip_norm=limit), 10)
    updates, _ = optimizer.update(gradients, optimizer.init(gradients), gradients)
    for key, gradient in gradients.items():
        g = np.asarray(gradient) * factor
        np.testing.assert_allclose(updates[key], -g / (np.abs(g) + 10.0), rtol=1e-5)


def test_the_average_is_vidtoks(golden):
    with np.load(golden("vidtok/unit_metrics_data_ema.npz")) as file:
        arrays, meta = dict(file), json.loads(str(file["meta"]))
    average = {"p": jnp.asarray(arrays["in:ema/p0"])}
    for k in range(1, 6):
        average = update_average(average, {"p": jnp.asarray(arrays[f"in:ema/p{k}"])}, meta["ema_decay"], jnp.int32(k))
        np.testing.assert_allclose(average["p"], arrays["out:ema/shadow"][k - 1], rtol=1e-5, atol=1e-6)


def test_the_average_warms_up_and_then_keeps_its_decay():
    """With parameters of 1 the distance to them is the product of the decays so far."""
    average, distance, decay = jnp.zeros(()), 1.0, 0.5
    for k in range(1, 30):
        average = update_average(average, jnp.ones(()), decay, jnp.int32(k))
        distance *= min(decay, (1 + k) / (10 + k))
        np.testing.assert_allclose(1 - average, distance, rtol=1e-4, atol=1e-6)
