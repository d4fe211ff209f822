"""Fine-tuning: a run whose weights begin as those of another tokenizer, such as a released one that was converted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tokjax.conversion.kept_discriminators import KEPT, read_kept
from tokjax.conversion.package import read_trained
from tokjax.errors import ConfigError
from tokjax.training.adversary import AdversaryState
from tokjax.training.paths import names
from tokjax.training.state import TrainState


def warm_started(fresh: TrainState, directory: str) -> TrainState:
    """A new run's state with the weights in an export or a training workdir, where a moving average takes precedence.

    Where the directory has kept discriminators (`tokjax convert --with-discriminator`) and the run has some, they and the learned
    log-variance come from there too; otherwise those begin as they would without.

    Args:
      directory: `config.start_from`.

    Raises:
      ConfigError: weights of another model, or discriminators of another kind. PackageError, CheckpointError: nothing to load.
    """
    path = Path(directory)
    variables = dict(read_trained(path).variables)
    params, model_state = variables.pop("params"), variables
    _require_same(fresh.params, params, path, "model")
    _require_same(fresh.model_state, model_state, path, "model")
    average = None if fresh.ema is None else jax.tree.map(jnp.copy, params)
    state = fresh.replace(params=params, model_state=model_state, ema=average)
    kept = read_kept(path / KEPT) if (path / KEPT).is_file() else None
    if kept and state.discriminator is not None:
        state = state.replace(discriminator=_judges(state.discriminator, kept.variables, path))
    if kept and state.loss is not None and kept.log_variance is not None:
        state = state.replace(loss={"log_variance": jnp.float32(kept.log_variance)})
    return state


def _judges(fresh: AdversaryState, variables: dict[str, Any], path: Path) -> AdversaryState:
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    _require_same(fresh.params, params, path, "discriminator")
    return fresh.replace(params=jax.tree.map(jnp.asarray, params), batch_stats=jax.tree.map(jnp.asarray, batch_stats))


def _require_same(wanted: Any, given: Any, path: Path, what: str) -> None:
    here, there = _shapes(wanted), _shapes(given)
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            raise ConfigError(
                f"config.start_from: {path} holds another {what}: {name} is {there.get(name, 'absent')} there and "
                f"{here.get(name, 'absent')} in this config"
            )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    return dict(zip(names(tree), (tuple(leaf.shape) for leaf in jax.tree.leaves(tree)), strict=True))
