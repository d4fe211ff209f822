"""Halving and doubling time against formulas written out, and layers fed in chunks of every size against the whole video."""

import functools

import jax
import numpy as np
import pytest

from tokjax.models.layers import Conv, Style
from tokjax.models.time_resampling import TemporalDownsample, TemporalUpsample

CAUSAL = ["causal", "causal_v1_1"]
ALPHA = 1 / (1 + np.exp(-0.7))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def blended_with_a_constant(module, x):
    """The module with a convolution that gives 0.5 everywhere, so that the other branch shows."""
    conv = {"kernel": np.zeros((3, 3, 3, 3, 3), np.float32), "bias": np.full(3, 0.5, np.float32)}
    return (module.apply({"params": {"conv": conv, "mix_factor": np.array([0.7], np.float32)}}, x) - (1 - ALPHA) * 0.5) / ALPHA


@pytest.mark.parametrize("frames", [2, 4, 5])
@pytest.mark.parametrize(
    ("causality", "pads", "mode"),
    [("causal", (1, 0), "constant"), ("causal_v1_1", (1, 0), "edge"), ("noncausal", (0, 1), "constant")],
)
def test_time_is_halved_by_means_of_three(causality, pads, mode, frames):
    x = normal(1, frames, 2, 2, 3)
    padded = np.pad(x, ((0, 0), pads, (0, 0), (0, 0), (0, 0)), mode=mode)
    mean = np.stack([padded[:, 2 * j : 2 * j + 3].mean(1) for j in range(frames // 2)], 1)
    np.testing.assert_allclose(blended_with_a_constant(TemporalDownsample(Style(causality=causality)), x), mean, atol=1e-6)


@pytest.mark.parametrize("causality", ["causal", "noncausal"])
def test_time_is_doubled_by_repeating(causality):
    x = normal(1, 3, 2, 2, 3)
    found = blended_with_a_constant(TemporalUpsample(Style(causality=causality)), x)
    np.testing.assert_allclose(found, np.repeat(x, 2, axis=1), atol=1e-6)


@pytest.mark.parametrize(("latent_frames", "frames"), [(1, 1), (1, 4), (2, 2), (2, 5), (4, 4), (4, 7)])
def test_time_is_doubled_linearly_within_latent_0_and_within_the_rest(latent_frames, frames):
    """numpy's own interpolation at the half-pixel centres of each of the two pieces, clamped at their ends."""
    x = normal(1, frames, 2, 2, 3)
    pieces = [piece for piece in np.split(x, [latent_frames], axis=1) if piece.shape[1]]

    def doubled(series):
        return np.interp(np.arange(2 * len(series)) / 2 - 0.25, np.arange(len(series)), series)

    expected = np.concatenate([np.apply_along_axis(doubled, 1, piece) for piece in pieces], axis=1)
    module = TemporalUpsample(Style(causality="causal_v1_1", frames_per_latent=latent_frames))
    np.testing.assert_allclose(blended_with_a_constant(module, x), expected, atol=1e-6)


LAYERS = {
    "convolution": (Conv(3), 1),
    "convolution of stride 2": (Conv(3, strides=(2, 1, 1)), 2),
    "time series of stride 2": (Conv(3, (3, 1, 1), (2, 1, 1)), 2),
    "joint up-sampling": (Conv(3, repeat=(2, 2, 2)), 1),
    "halving": (TemporalDownsample(), 2),
    **{f"doubling at {n} frames a latent": (TemporalUpsample(Style(frames_per_latent=n)), 1) for n in (1, 2, 4)},
}
# Only v1.1 asks how many frames a latent has become.
CASES = [(name, causality) for name in LAYERS for causality in CAUSAL if "latent" not in name or causality == "causal_v1_1"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "causality"), [*CASES, ("doubling at 1 frames a latent", "causal")])
def test_a_layer_fed_in_chunks_of_any_size_gives_what_it_gives_at_once(name, causality):
    layer, unit = LAYERS[name]
    layer = layer.clone(style=Style(causality=causality, frames_per_latent=layer.style.frames_per_latent))
    x = normal(1, 8, 2, 3, 2)
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: normal(*leaf.shape, seed=leaf.size), shapes)
    run, last = jax.jit(functools.partial(layer.apply, mutable=["cache"])), jax.jit(layer.apply)
    whole = last(variables, x)
    for size in range(unit, 8, unit):
        *chunks, final = np.split(x, range(size, 8, size), axis=1)
        parts, cache = [], {}
        for chunk in chunks:
            y, cache = run({**variables, **cache}, chunk)
            parts.append(y)
        parts.append(last({**variables, **cache}, final))
        np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-5)


@pytest.mark.slow
def test_the_last_frame_of_a_chunk_waits_for_its_neighbour_only_where_it_is_interpolated():
    lengths = {}
    for causality in CAUSAL:
        layer, x = TemporalUpsample(Style(causality=causality)), normal(1, 3, 2, 2, 2)
        variables = layer.init(jax.random.key(0), x)
        first, cache = layer.apply(variables, x, mutable=["cache"])
        middle, cache = layer.apply({**variables, **cache}, x, mutable=["cache"])
        last = layer.apply({**variables, **cache}, x)
        lengths[causality] = [part.shape[1] for part in (first, middle, last)]
    assert lengths == {"causal": [6, 6, 6], "causal_v1_1": [5, 6, 7]}


def test_initialisation_leaves_no_cache_behind():
    for module in (Conv(3), TemporalUpsample(Style(causality="causal_v1_1")), TemporalDownsample()):
        assert module.init(jax.random.key(0), normal(1, 2, 2, 2, 2)).keys() == {"params"}
