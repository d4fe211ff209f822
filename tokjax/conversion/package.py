"""A trained tokenizer as a directory, and back: `export` writes what `load` reads.

An export holds `config.json`, the model's variables as an Orbax checkpoint in `checkpoints/`, with a digest for every file, and a
model card. `load` also opens a training workdir, at its newest sound checkpoint, with the config of the stage it is of, and with
the parameters' moving average where the run kept one.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from tokjax import __version__
from tokjax.config import defaults, from_json, to_json, validate
from tokjax.defaults import GENERATORS
from tokjax.models.tokenizer import Tokenizer, build
from tokjax.training.checkpoints import Checkpoints, read
from tokjax.training.stages import stage_of, stages_of
from tokjax.training.workdir import write_atomically


class PackageError(ValueError):
    """A directory that is no tokenizer, or a place that cannot take one."""


def load(path: str | Path, step: int | None = None) -> Tokenizer:
    """The tokenizer in an export or a training workdir.

    Args:
      step: of a training workdir; None takes the newest.

    Raises:
      PackageError: nothing there that could be loaded.
    """
    return load_with_step(Path(path), step)[0]


def load_with_step(path: Path, step: int | None = None) -> tuple[Tokenizer, int]:
    """`load`, and the training step that the weights are of."""
    trained = read_trained(path, step)
    if trained.config.model.family in GENERATORS:
        raise PackageError(f"{path} holds a model of tokens, not a tokenizer; `tokjax generate` draws from it")
    return Tokenizer(build(trained.config.model), trained.variables, trained.config), trained.step


class Trained(NamedTuple):
    """Attributes:
    config: what held in the stage that the weights are of.
    variables: of the model.
    step: of the training that they are of.
    record: what was saved beside them.
    """

    config: ConfigDict
    variables: dict[str, Any]
    step: int
    record: dict[str, Any]


def read_trained(path: Path, step: int | None = None) -> Trained:
    """What an export or a training workdir holds, of whatever family.

    Raises:
      PackageError: nothing there that could be loaded.
    """
    stages = stages_of(_config_in(path))

    def parts(step: int) -> tuple[str, str]:
        return "ema" if stage_of(stages, step).config.optimizer.ema_decay > 0 else "params", "model_state"

    step, trees, record = read(path / "checkpoints", step, parts)
    params, model_state = (jax.tree.map(jnp.asarray, trees[part]) for part in parts(step))
    return Trained(stage_of(stages, step).config, {"params": params, **model_state}, step, record)


def family_of(path: Path) -> str:
    """Which family of models an export or a training workdir holds.

    Raises:
      PackageError: neither.
    """
    return _config_in(path).model.family


def _config_in(path: Path) -> ConfigDict:
    if not (path / "config.json").is_file():
        raise PackageError(f"{path} is neither an export nor a training workdir: it has no config.json")
    return _read_config(path / "config.json")


def _read_config(path: Path) -> ConfigDict:
    try:
        config = from_json(path.read_text())
        validate(config)
    except ValueError as error:
        raise PackageError(f"{path} is damaged or of another version of tokjax: {error}") from error
    return config


def export(workdir: str | Path, output: str | Path, step: int | None = None) -> None:
    """Writes the tokenizer of a training workdir, without what only training needs, as a directory that `load` opens.

    Raises:
      PackageError: the output exists.
    """
    workdir, output = Path(workdir), Path(output)
    if output.exists():
        raise PackageError(f"{output} exists already; give a directory that does not")
    tokenizer, step = load_with_step(workdir, step)
    write(tokenizer, output, step, f"training run {workdir.resolve().name}")


def write(tokenizer: Tokenizer, output: Path, step: int, source: str) -> None:
    """Writes `tokenizer` to `output`, complete or not at all."""
    card = model_card(tokenizer, step, source)
    write_package(output, Trained(tokenizer.config, dict(tokenizer.variables), step, {"source": source}), card)


def write_package(output: Path, trained: Trained, card: str) -> None:
    """Writes an export with this model card, complete or not at all."""
    partial = output.with_name(f".{output.name}.partial")
    config = ConfigDict(trained.config.to_dict())
    config.optimizer.ema_decay, config.stages = 0.0, ConfigDict()  # an export holds one set of parameters, of one stage
    shutil.rmtree(partial, ignore_errors=True)  # of an export that was killed
    partial.mkdir(parents=True)
    try:
        checkpoints = Checkpoints(partial / "checkpoints", keep=1)
        model_state = {**trained.variables}
        params = model_state.pop("params")
        checkpoints.save(trained.step, {"params": params, "model_state": model_state}, trained.record)
        checkpoints.close()
        write_atomically(partial / "config.json", to_json(config))
        write_atomically(partial / "README.md", card)
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def digest(tokenizer: Tokenizer) -> str:
    """Names a model by its configuration and variables, so that tokens of one are not decoded by another.

    Values that are the default are left out, so that a key which a later version adds changes no name.
    """
    model = tokenizer.config.model
    computes = _unusual(model.to_dict(), defaults(model.family).model.to_dict() | {"family": None})
    computes = {key: value for key, value in computes.items() if key not in ("remat", "init")}
    total = hashlib.sha256(json.dumps(computes, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(dict(tokenizer.variables)):
        total.update(jax.tree_util.keystr(path).encode())
        total.update(np.asarray(leaf).tobytes())
    return total.hexdigest()


def _unusual(values: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    differing = {key: value for key, value in values.items() if value != usual[key]}
    return {key: _unusual(value, usual[key]) if isinstance(value, dict) else value for key, value in differing.items()}


def model_card(tokenizer: Tokenizer, step: int, source: str) -> str:
    """What the weights are and how to use them, in Markdown."""
    module, config = tokenizer.module, tokenizer.config
    parameters = sum(leaf.size for leaf in jax.tree.leaves(tokenizer.variables["params"]))
    side = module.space_factor
    rows: dict[str, Any] = {
        "family": f"{config.model.family}, {config.model.get('causality') or config.model.mode}",
        "parameters": f"{parameters:,}",
        "latents": f"{module.latent_channels} channels for {module.time_factor}x{side}x{side} pixels",
        "codes": _codes(module.quantizer.codebook_size, config.model.quantizer),
        "step": step,
        "source": source,
        "tokjax": __version__,
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"""# {config.name or "tokjax tokenizer"}

| | |
|---|---|
{table}

```python
import tokjax

tokenizer = tokjax.load("PATH")
encoded = tokenizer.encode(video)  # [batch, time, height, width, 3], uint8 0..255 or float -1..1
again = tokenizer.decode(encoded)
```
"""


def _codes(size: int | None, quantizer: ConfigDict) -> str:
    name = "" if quantizer.name == "none" else f" ({quantizer.name.upper()})"
    if size is None:
        return f"none, latents are continuous{name}"
    several = f"{quantizer.num_codebooks} codebooks of " if quantizer.num_codebooks > 1 else ""
    levels = f" {quantizer.levels}" if quantizer.levels else ""
    return f"{several}{size:,} ({quantizer.name.upper()}{levels})"
