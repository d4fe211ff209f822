"""What a stage takes over: checked array by array, on states small enough to write down."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tokjax.config import defaults, stage, stages
from tokjax.training.border import begin_stage, describe, plan
from tokjax.training.stages import stages_of
from tokjax.training.state import TrainState

OPTIMIZER = optax.chain(optax.scale_by_adam(), optax.scale_by_schedule(lambda count: 0.1 * count))


def a_state(fill, width=3, step=0, codes=4, ema=None, more=()):
    """Every array is `fill`; `width` is that of one kernel, `codes` the number of codes."""
    params = {"encoder": {"kernel": jnp.full((2, width), fill), "bias": jnp.full((3,), fill)}}
    params |= {name: {"kernel": jnp.full((2,), fill)} for name in ("decoder", *more)}
    book = {"embeddings": jnp.full((codes, 2), fill), "initialized": jnp.asarray(bool(fill % 2))}
    state = {"codebook": {"quantizer": book}, "batch_stats": {"norm": {"mean": jnp.full((2,), fill)}}}
    average = None if ema is None else jax.tree.map(lambda leaf: jnp.full_like(leaf, ema), params)
    optimizer = OPTIMIZER.init(params)
    return TrainState(jnp.int32(step), params, state, optimizer, average, jnp.int32(2 if step else 0))


def a_stage(**own):
    config = defaults()
    config.stages = stages(stage("first", training={"steps": 7}), stage("second", **own))
    return stages_of(config)[1]


def values(tree):
    """By name, the one value that fills the array."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        (found[jax.tree_util.keystr(path, simple=True, separator="/")],) = set(np.asarray(leaf).ravel().tolist())
    return found


def test_all_is_kept_where_nothing_differs():
    before, fresh = a_state(5.0, step=7, ema=6.0), a_state(1.0, ema=1.0)
    carried = plan(before, fresh, a_stage())
    after = jax.jit(lambda one, other: begin_stage(one, other, a_stage()))(before, fresh)
    assert (len(carried.kept), carried.inflated, carried.new, carried.dropped) == (6, [], [], [])
    assert set(values(after.params).values()) == {5.0} and set(values(after.ema).values()) == {6.0}
    assert values(after.model_state) == {
        "codebook/quantizer/embeddings": 5.0,
        "codebook/quantizer/initialized": True,
        "batch_stats/norm/mean": 5.0,
    }
    assert (int(after.step), int(after.nonfinite)) == (7, 0)
    assert jax.tree.structure(after) == jax.tree.structure(fresh)


def test_other_shapes_and_patterns_begin_anew_and_what_is_gone_is_told():
    before, fresh = a_state(5.0, step=7, ema=6.0, more=("old",)), a_state(1.0, width=4, ema=1.0, more=("more",))
    own = a_stage(fresh=("decoder",))
    carried, after = plan(before, fresh, own), begin_stage(before, fresh, own)
    expected = {"encoder/kernel": 1.0, "encoder/bias": 5.0, "decoder/kernel": 1.0, "more/kernel": 1.0}
    assert values(after.params) == expected
    assert values(after.ema) == {name: 6.0 if value == 5.0 else 1.0 for name, value in expected.items()}
    assert set(carried.new) == {"encoder/kernel", "decoder/kernel", "more/kernel"} and carried.dropped == ["old/kernel"]
    assert describe(carried) == "4 arrays kept; 3 new: decoder (1), encoder (1), more (1); 1 dropped: old (1)"


def test_the_state_of_a_module_is_kept_whole_or_not_at_all():
    """A flag that the codes have been taken from data must not outlive the codes."""
    before, fresh = a_state(5.0, step=7), a_state(2.0, codes=8)
    after = begin_stage(before, fresh, a_stage())
    assert values(after.model_state) == {
        "codebook/quantizer/embeddings": 2.0,
        "codebook/quantizer/initialized": False,
        "batch_stats/norm/mean": 5.0,
    }
    assert plan(before, fresh, a_stage()).new == ["codebook/quantizer/embeddings", "codebook/quantizer/initialized"]


@pytest.mark.parametrize(("had", "keeps", "value"), [(6.0, 1.0, 6.0), (None, 1.0, 5.0), (6.0, None, None)])
def test_an_average_goes_on_or_begins_with_the_parameters(had, keeps, value):
    after = begin_stage(a_state(5.0, step=7, ema=had), a_state(1.0, ema=keeps), a_stage())
    assert (after.ema is None) if value is None else set(values(after.ema).values()) == {value}


@pytest.mark.parametrize("kept", [False, True])
def test_the_optimizer_begins_anew_or_keeps_its_moments(kept):
    before = a_state(5.0, step=7)
    gradients = jax.tree.map(jnp.ones_like, before.params)
    for _ in range(3):
        _, optimizer = OPTIMIZER.update(gradients, before.optimizer)
        before = before.replace(optimizer=optimizer)
    adam, schedule = begin_stage(before, a_state(1.0), a_stage(keep_optimizer=kept)).optimizer
    assert int(schedule.count) == 0 and int(adam.count) == (3 if kept else 0)
    np.testing.assert_allclose(list(values(adam.mu).values()), 1 - 0.9**3 if kept else 0.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("how", "embedding", "expected"),
    [("sound", "linear", 0.5), ("average", "linear", 0.5), ("first", "linear", 1.0), ("sound", "plain", 0.5)],
)
def test_weights_of_later_frames_are_made_of_those_of_the_first(how, embedding, expected):
    """A patch of 1 pixel and 2 frames; the value that reaches a token is the sum over frames."""
    norms = ["norm_in"] if embedding == "linear" else []

    def params(frames, fill):
        half = {norm: {"scale": jnp.full((3 * frames,), fill)} for norm in norms}
        half["linear"] = {"kernel": jnp.full((3 * frames, 2), fill)}
        out = {"linear": {"kernel": jnp.full((2, 3 * frames), fill), "bias": jnp.full((3 * frames,), fill)}}
        return half, out

    def state(frames, fill):
        ends = {"first_frame": params(1, fill)} | ({"rest": params(frames, fill)} if frames else {})
        embedding, unembedding = ({name: end[half] for name, end in ends.items()} for half in (0, 1))
        tree = {"encoder": {"embedding": embedding, "block": jnp.full((2,), fill)}, "decoder": {"unembedding": unembedding}}
        return TrainState(jnp.int32(7), tree, {}, OPTIMIZER.init(tree), None, jnp.int32(0))

    config = defaults("omnitokenizer")
    config.model.update({"time_factor": 2, "embedding": embedding})
    config.stages = stages(stage("images"), stage("joint", inflate=how))
    own, before, fresh = stages_of(config)[1], state(0, 1.0), state(2, 9.0)
    after, carried = begin_stage(before, fresh, own), plan(before, fresh, own)
    kernel = after.params["encoder"]["embedding"]["rest"]["linear"]["kernel"]
    assert kernel.shape == (6, 2) and float(kernel[0, 0]) == expected
    assert len(carried.inflated) == 3 + len(norms) and all("/rest/" in name for name in carried.inflated)
    assert len(carried.kept) == 4 + len(norms) and carried.new == []
    without = plan(before, fresh, a_stage())
    assert without.inflated == [] and len(without.new) == 3 + len(norms)
