"""Frozen parameters: no update, no decay, no moments, no gradient; and the others train as if nothing were frozen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from saved_runs import through_a_checkpoint
from training.test_step import bits, clips, make

from tokjax.training.optimizers import merge, split
from tokjax.training.paths import matching, names

WITH_DECAY = {"name": "adamw", "weight_decay": 0.5, "clip_norm": 0.0, "ema_decay": 0.0}


@pytest.mark.parametrize("parts", [1, 2])
def test_what_is_frozen_stays_bitwise_and_the_rest_trains_as_without(parts):
    *_, free, free_step = make(accumulation=parts, **WITH_DECAY)
    *_, state, step = make(accumulation=parts, freeze=("encoder",), **WITH_DECAY)
    expected, free_metrics = free_step(free, clips())
    after, metrics = step(state, clips())
    assert bits(after.params["encoder"]) == bits(state.params["encoder"])
    assert bits(expected.params["encoder"]) != bits(free.params["encoder"])
    for one, other in zip(*map(jax.tree.leaves, (after.params["decoder"], expected.params["decoder"])), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    assert 0 < metrics["gradient_norm"] < 0.999 * free_metrics["gradient_norm"]
    np.testing.assert_allclose(metrics["loss"], free_metrics["loss"], rtol=1e-6)


def test_the_optimizer_has_moments_for_what_trains_only():
    *_, state, _ = make(freeze=("encoder/kernel", "decoder/bias"))
    moments = [name for name in names(state.optimizer) if "kernel" in name or "bias" in name]
    assert len(moments) == 4  # two arrays, two moments
    assert all(name.endswith(("encoder/bias", "decoder/kernel")) for name in moments)


def test_clipping_looks_at_what_trains_only():
    """With b1 = 0 and this eps Adam's first update is minus the gradient, clipped to a joint norm of 0.5."""
    *_, state, step = make(freeze=("encoder",), clip_norm=0.5, b1=0.0, eps=1e6, learning_rate=1e6)
    after, _ = step(state, clips())
    moved = [np.ravel(new - old) for new, old in zip(*map(jax.tree.leaves, (after.params, state.params)), strict=True)]
    np.testing.assert_allclose(np.linalg.norm(np.concatenate(moved)), 0.5, rtol=1e-3)


def test_no_gradient_is_computed_for_it():
    flops = {}
    for freeze in ((), ("encoder",), ("decoder",)):
        *_, state, step = make(freeze=freeze, clip_norm=0.0, ema_decay=0.0)
        flops[freeze] = step.lower(state, clips()).compile().cost_analysis()["flops"]
    assert flops[("encoder",)] < 0.9 * flops[()] and flops[("decoder",)] < flops[()]


def test_the_average_follows_what_trains_and_stays_with_what_is_frozen():
    *_, state, step = make(freeze=("encoder",), ema_decay=0.5)
    shadow = jax.tree.map(jnp.copy, state.params)
    state = state.replace(ema=jax.tree.map(lambda leaf: leaf + 1, shadow))
    after, _ = step(state, clips())
    rate = 1 - min(0.5, 2 / 11)
    for one, new, old in zip(*map(jax.tree.leaves, (after.ema, after.params, state.ema)), strict=True):
        np.testing.assert_allclose(one, old - rate * (old - new), rtol=1e-5, atol=1e-6)


def test_a_state_with_frozen_parts_comes_back_from_a_checkpoint_bitwise(tmp_path):
    *_, state, step = make(freeze=("encoder",))
    state, _ = step(state, clips())
    restored = through_a_checkpoint(state, tmp_path)
    assert jax.tree.structure(restored) == jax.tree.structure(state) and bits(restored) == bits(state)
    assert bits(step(restored, clips(1))) == bits(step(state, clips(1)))


def test_merging_undoes_splitting():
    params = {"a": {"x": 1, "y": 2}, "b": {"x": 3}}
    frozen = matching(params, ("a/x", "b"))
    trained, held = split(params, frozen)
    assert trained == {"a": {"x": None, "y": 2}, "b": {"x": None}} and held == {"a": {"x": 1, "y": None}, "b": {"x": 3}}
    assert merge(trained, held, frozen) == params
