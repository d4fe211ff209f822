"""Schedules, Adam and clipping against closed forms, and the moving average against VidTok's."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tokjax.config import defaults
from tokjax.training.optimizers import make_optimizer, make_schedule, published_cosine, restart_schedule, update_average


def settings(**changes) -> dict:
    return {**defaults().optimizer.to_dict(), "clip_norm": 0.0, **changes}


@pytest.mark.parametrize("warmup", [0, 5])
@pytest.mark.parametrize(("kind", "least"), [("constant", 0.0), ("cosine", 0.0), ("cosine", 1e-4)])
def test_the_schedule_is_its_closed_form(kind, least, warmup):
    peak, steps = 3e-4, 40
    given = settings(learning_rate=peak, learning_rate_min=least, schedule=kind, warmup_steps=warmup)
    schedule = make_schedule(given, steps)
    for step in range(steps + 1):
        share = 0.5 * (1 + np.cos(np.pi * (step - warmup) / (steps - warmup)))
        after = least + (peak - least) * share if kind == "cosine" else peak
        expected = peak * step / warmup if step < warmup else after
        np.testing.assert_allclose(schedule(step), expected, rtol=1e-5, atol=1e-10)


def test_omnitokenizers_schedule_is_the_published_one(golden):
    """Rates at construction and after the scheduler's calls at some steps; an update uses the one of the call before it."""
    with np.load(golden("omnitokenizer/lr_schedule.npz")) as file:
        arrays, cases = dict(file), json.loads(str(file["meta"]))["config"]["cases"]
    for number, case in enumerate(cases):
        at_first, *rates = arrays[f"out/lr{number}_f64"]
        curve = (case["lr"], case["lr_min"], case["warmup_steps"], case["max_steps"])
        np.testing.assert_allclose(published_cosine(np.array(case["t"]), *curve), rates, rtol=2e-6, atol=1e-12)
        given = settings(schedule="omnitokenizer", learning_rate=case["lr"], learning_rate_min=case["lr_min"])
        schedule = make_schedule({**given, "warmup_steps": case["warmup_steps"]}, case["max_steps"])
        updates = np.array([0, *(t + 1 for t in case["t"])])
        np.testing.assert_allclose(schedule(updates), [at_first, *rates], rtol=2e-6, atol=1e-12)


def test_the_published_schedule_falls_where_the_warm_up_ends():
    """The cosine has run meanwhile: 1e-3 is never reached, 9.77e-4 follows."""
    before, after = (float(published_cosine(count, 1e-3, 5e-5, 50_000, 500_000)) for count in (49_999, 50_000))
    assert after < before < 1e-3
    np.testing.assert_allclose([before, after], [0.99998e-3, 9.7675e-4], rtol=1e-5)


@pytest.mark.parametrize("limit", [0.0, 5.0])
def test_a_schedule_begins_anew_and_the_moments_stay(limit):
    """With a constant gradient Adam's update is the learning rate, whatever the number of steps its moments have seen."""
    optimizer = make_optimizer(settings(learning_rate=0.1, warmup_steps=10, eps=1e-12, clip_norm=limit), 100)
    gradients = {"a": jnp.array([3.0, -0.5])}
    state = optimizer.init(gradients)
    for _ in range(4):
        updates, state = optimizer.update(gradients, state, gradients)
    np.testing.assert_allclose(updates["a"], [-0.03, 0.03], rtol=1e-4)
    again = restart_schedule(state)
    assert jax.tree.structure(again) == jax.tree.structure(state)
    differing = [not np.array_equal(one, other) for one, other in zip(*map(jax.tree.leaves, (again, state)), strict=True)]
    assert sum(differing) == 1
    for step in range(3):
        updates, again = optimizer.update(gradients, again, gradients)
        np.testing.assert_allclose(updates["a"], [-0.01 * step, 0.01 * step], rtol=1e-4, atol=1e-9)


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
