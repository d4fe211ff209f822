"""What one stage computes: its model, its optimizer, its state and its jitted step, on a mesh."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any

import jax
from jax.sharding import Mesh

from tokjax.data.pipeline import Batch
from tokjax.errors import ConfigError
from tokjax.generation.divisions import require_divisible
from tokjax.generation.families import build, is_generator
from tokjax.generation.live_tokens import check_labels
from tokjax.generation.sources_of_tokens import measured, tokenizer_of
from tokjax.losses.perceptual import load_perceptual
from tokjax.losses.weight_files import Weights, about_weights
from tokjax.models.mesh import laid_on
from tokjax.training import sharding
from tokjax.training.border import array_names, begin_stage
from tokjax.training.generative import global_tokens
from tokjax.training.optimizers import make_optimizer
from tokjax.training.paths import matching, names, require_matches
from tokjax.training.stages import Stage
from tokjax.training.state import TrainState, state_of
from tokjax.training.step import make_train_step
from tokjax.training.warm_start import warm_started


class Program:
    """Attributes:
    stage: what it was made for.
    model: the flax module.
    shapes, shardings: of the TrainState.
    step: (state, video, perceptual) -> (state, metrics), jitted; the state is donated.
    perceptual: weights of the perceptual network, or of the tokenizer that works along, on the mesh; None where there are none.
    perceptual_digest: names them, or the tokenizer that cached tokens are from; "" where there are none.
    tokenizer: that works along while a model of tokens learns, or None.
    """

    def __init__(self, stage: Stage, mesh: Mesh) -> None:
        """Computes shapes only.

        Raises:
          ValueError: a pattern for parameters that matches none, patterns that leave nothing to train, a file of perceptual
            weights that is missing or damaged, or a mesh that does not divide a model of tokens.
        """
        self.stage, self.mesh, config = stage, mesh, stage.config
        self.model = build(config.model)
        generates = is_generator(self.model)
        if generates:
            require_divisible(self.model, mesh)
        self.tokenizer, its_digest = tokenizer_of(config, self.model) if generates else (None, "")
        training, frozen = config.training, config.optimizer.freeze
        optimizer = make_optimizer(config.optimizer, training.steps, training.batches_per_update)
        self._make = partial(state_of, self.model, optimizer, config)
        self.shapes = jax.eval_shape(self._make)
        require_matches([*names(self.shapes.params), *names(self.shapes.model_state)], frozen, "config.optimizer.freeze")
        known = array_names(self.shapes)
        require_matches(known, stage.fresh, f"`fresh` of stage {stage.name!r}")
        if all(jax.tree.leaves(matching(self.shapes.params, frozen))):
            raise ConfigError(f"config.optimizer.freeze {frozen} matches every parameter, so nothing would train")
        self.shardings = sharding.parameter_sharding(self.shapes, mesh)
        self.step = jax.jit(
            laid_on(mesh, make_train_step(self.model, optimizer, config, self.tokenizer and self.tokenizer.module)),
            out_shardings=(self.shardings, sharding.replicated(mesh)),
            donate_argnums=0,
        )
        uses = config.loss.perceptual_weight > 0
        self.perceptual_digest = about_weights(config.loss.perceptual_weights_file)["digest"] if uses else its_digest

    @cached_property
    def perceptual(self) -> Weights | None:
        if self.tokenizer:
            return jax.device_put(dict(self.tokenizer.variables), sharding.replicated(self.mesh))
        loss = self.stage.config.loss
        if not loss.perceptual_weight:
            return None
        weights = load_perceptual(loss.perceptual_weights_file, loss.perceptual_network)
        return jax.device_put(weights, sharding.replicated(self.mesh))

    @property
    def abstract_state(self) -> Any:
        """What a checkpoint of this stage is restored for."""
        return jax.tree.map(
            lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), self.shapes, self.shardings
        )

    def initial_state(self) -> TrainState:
        """Of a run that begins with this stage.

        Raises:
          ConfigError: config.start_from holds another model.
        """
        state = jax.jit(self._make, out_shardings=self.shardings, compiler_options=_runs_once())()
        if "latents" in state.model_state:
            state = jax.device_put(state.replace(model_state=measured(self.stage.config)), self.shardings)
        directory = self.stage.config.start_from
        return jax.device_put(warm_started(state, directory), self.shardings) if directory else state

    def inputs(self, batch: Batch) -> Any:
        """What a step takes of a batch, laid on the mesh: the clips, or the tokens and labels."""
        if is_generator(self.model):
            check_labels(self.model.classes, batch.labels)
            return global_tokens(self.mesh, batch.video, batch.labels)
        return sharding.global_batch(self.mesh, batch.video)

    def state_after(self, before: TrainState) -> TrainState:
        """With what is carried over from the last state of the stage before, which is donated."""
        begin = jax.jit(
            lambda before: begin_stage(before, self._make(), self.stage),
            out_shardings=self.shardings,
            donate_argnums=0,
            compiler_options=_runs_once(),
        )
        return begin(before)


def _runs_once() -> dict[str, str]:
    """For programs of which only the compilation takes long: without optimization it is half of that on a CPU."""
    return {"xla_backend_optimization_level": "0"} if jax.default_backend() == "cpu" else {}
