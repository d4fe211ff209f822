"""What one stage computes: its model, its optimizer, its state and its jitted step, on a mesh."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh

from tokjax.errors import ConfigError
from tokjax.models.tokenizer import build
from tokjax.training import sharding
from tokjax.training.border import begin_stage
from tokjax.training.optimizers import make_optimizer
from tokjax.training.paths import matching, names, require_matches
from tokjax.training.stages import Stage
from tokjax.training.state import TrainState, initial_state
from tokjax.training.step import make_train_step


class Program:
    """Attributes:
    stage: what it was made for.
    model: the flax module.
    shapes, shardings: of the TrainState.
    step: (state, video) -> (state, metrics), jitted; the state is donated.
    """

    def __init__(self, stage: Stage, mesh: Mesh) -> None:
        """Computes shapes only.

        Raises:
          ValueError: a pattern for parameters that matches none, or patterns that leave nothing to train.
        """
        self.stage, config = stage, stage.config
        self.model = build(config.model)
        optimizer, frozen = make_optimizer(config.optimizer, config.training.steps), config.optimizer.freeze
        self._make = partial(initial_state, self.model, optimizer, config.seed, config.optimizer.ema_decay > 0, frozen)
        self.shapes = jax.eval_shape(self._make)
        known = [*names(self.shapes.params), *names(self.shapes.model_state)]
        require_matches(known, frozen, "config.optimizer.freeze")
        require_matches(known, stage.fresh, f"`fresh` of stage {stage.name!r}")
        if all(jax.tree.leaves(matching(self.shapes.params, frozen))):
            raise ConfigError(f"config.optimizer.freeze {frozen} matches every parameter, so nothing would train")
        self.shardings = sharding.parameter_sharding(self.shapes, mesh)
        self.step = jax.jit(
            make_train_step(self.model, optimizer, config),
            out_shardings=(self.shardings, sharding.replicated(mesh)),
            donate_argnums=0,
        )

    @property
    def abstract_state(self) -> Any:
        """What a checkpoint of this stage is restored for."""
        return jax.tree.map(
            lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), self.shapes, self.shardings
        )

    def initial_state(self) -> TrainState:
        """Of a run that begins with this stage."""
        return jax.jit(self._make, out_shardings=self.shardings)()

    def state_after(self, before: TrainState) -> TrainState:
        """With what is carried over from the last state of the stage before, which is donated."""
        begin = jax.jit(
            lambda before: begin_stage(before, self._make(), self.stage), out_shardings=self.shardings, donate_argnums=0
        )
        return begin(before)
