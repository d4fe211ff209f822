"""What a stage takes over from the stage before it: arrays of the same name and shape, and those that can be made of others.

The rest begins anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from tokjax.training.adversary import AdversaryState
from tokjax.training.carry_over import inflate
from tokjax.training.optimizers import restart_schedule
from tokjax.training.paths import matching, names
from tokjax.training.stages import Stage
from tokjax.training.state import TrainState

_OF_LATER_FRAMES = ("encoder/embedding/rest/", "decoder/unembedding/rest/")  # OmniTokenizer's, which `inflate` makes


class Carried(NamedTuple):
    """Names of arrays.

    Attributes:
      kept: of the stage before.
      inflated: made of those for the first frame.
      new: initialised anew.
      dropped: of the stage before, which the new model has not.
    """

    kept: list[str]
    inflated: list[str]
    new: list[str]
    dropped: list[str]


def plan(before: TrainState, fresh: TrainState, stage: Stage) -> Carried:
    """What becomes of each parameter and each array of the model's state.

    Args:
      before, fresh: states, or their shapes, at the end of the stage before and of a new run with the config of this stage.
    """
    params = jax.eval_shape(lambda params: _inflated(params, stage), before.params)
    carried = _kept(params, fresh.params, stage.fresh) + _kept_modules(before.model_state, fresh.model_state, stage.fresh)
    carried += _kept(_beside(before), _beside(fresh), stage.fresh)
    inflated = [name for name in carried if stage.inflate and name.startswith(_OF_LATER_FRAMES)]
    here, there = array_names(fresh), array_names(before)
    return Carried(
        kept=[name for name in carried if name not in inflated],
        inflated=inflated,
        new=[name for name in here if name not in carried],
        dropped=[name for name in there if name not in here],
    )


def begin_stage(before: TrainState, fresh: TrainState, stage: Stage) -> TrainState:
    """The state in which a stage begins; a pure function, to be jitted by the caller."""

    def carried(params: Any) -> Any:
        old = _inflated(params, stage)
        return _carry(old, fresh.params, _kept(old, fresh.params, stage.fresh))

    kept_state = _kept_modules(before.model_state, fresh.model_state, stage.fresh)
    old, new = _beside(before), _beside(fresh)
    beside = _carry(old, new, _kept(old, new, stage.fresh))
    average = before.params if before.ema is None else before.ema
    return fresh.replace(
        step=before.step,
        params=carried(before.params),
        model_state=_carry(before.model_state, fresh.model_state, kept_state),
        optimizer=restart_schedule(before.optimizer) if stage.keep_optimizer else fresh.optimizer,
        ema=None if fresh.ema is None else carried(average),
        loss=beside.get("loss"),
        discriminator=fresh.discriminator and _judges(before, fresh, beside["discriminator"], stage),
    )


def array_names(state: TrainState) -> list[str]:
    """Of all arrays that a stage can take over or begin anew, as patterns name them."""
    return [*names(state.params), *names(state.model_state), *names(_beside(state))]


def _beside(state: TrainState) -> dict[str, Any]:
    """What is learned beside the model: `loss/...`, and the discriminators' parameters and statistics, `discriminator/...`."""
    theirs = state.discriminator
    judges = theirs and {"params": theirs.params, "batch_stats": theirs.batch_stats, "averages": theirs.averages}
    return {key: tree for key, tree in (("loss", state.loss), ("discriminator", judges)) if tree}


def _judges(before: TrainState, fresh: TrainState, parts: dict[str, Any], stage: Stage) -> AdversaryState:
    keeps = stage.keep_optimizer and before.discriminator is not None
    optimizer = restart_schedule(before.discriminator.optimizer) if keeps else fresh.discriminator.optimizer
    return AdversaryState(**parts, optimizer=optimizer)


def describe(carried: Carried) -> str:
    """One line for the log: how many arrays are kept, and the modules of those that are not."""
    text = f"{len(carried.kept)} arrays kept"
    for what, found in (("inflated", carried.inflated), ("new", carried.new), ("dropped", carried.dropped)):
        modules: dict[str, int] = {}
        for name in found:
            modules[_module(name)] = modules.get(_module(name), 0) + 1
        if found:
            text += f"; {len(found)} {what}: " + ", ".join(f"{module} ({count})" for module, count in modules.items())
    return text


def _inflated(params: Any, stage: Stage) -> Any:
    """The parameters of the stage before, with patches of this stage's length where it asks for that."""
    if not stage.inflate:
        return params
    model = stage.config.model
    return inflate(params, model.time_factor // (1 + model.defer_time_pool), stage.inflate)


def _kept(before: Any, fresh: Any, patterns: Sequence[str]) -> list[str]:
    """Arrays of the same name and shape."""
    shapes = dict(zip(names(before), (leaf.shape for leaf in jax.tree.leaves(before)), strict=True))
    renewed = jax.tree.leaves(matching(fresh, patterns))
    leaves = zip(names(fresh), jax.tree.leaves(fresh), renewed, strict=True)
    return [name for name, leaf, anew in leaves if shapes.get(name) == leaf.shape and not anew]


def _kept_modules(before: Any, fresh: Any, patterns: Sequence[str]) -> list[str]:
    """A module's state is kept as a whole or not at all: counts of one codebook say nothing of another."""
    kept = _kept(before, fresh, patterns)
    partly = {_module(name) for name in {*names(fresh), *names(before)} - {*kept}}
    return [name for name in kept if _module(name) not in partly]


def _carry(before: Any, fresh: Any, kept: Sequence[str]) -> Any:
    old = dict(zip(names(before), jax.tree.leaves(before), strict=True))
    chosen = [old[name] if name in kept else leaf for name, leaf in zip(names(fresh), jax.tree.leaves(fresh), strict=True)]
    return jax.tree.unflatten(jax.tree.structure(fresh), chosen)


def _module(name: str) -> str:
    return name.rpartition("/")[0]
