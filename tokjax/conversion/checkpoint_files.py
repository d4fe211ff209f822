"""Files of weights, told apart by their content: in and out what `torch.save` writes (.ckpt, .pt, .pth) and .safetensors, in
also TorchScript archives.

Reading needs no PyTorch, runs no code of the file's, and allocates nothing: arrays are views of the file, mapped into memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tokjax.conversion.safetensors import read_safetensors, write_safetensors
from tokjax.conversion.torch_files import LEGACY_START, ZIP_START, read_legacy, read_zip
from tokjax.conversion.torch_pickle import CheckpointError, StandIn
from tokjax.training.workdir import flush

__all__ = ["CheckpointError", "CheckpointFile", "StandIn", "read_checkpoint", "require_name", "write_state"]

DEEPEST_MODULE = 30
TABLES = ("state_dict", "ema", "model")  # of tensors in a training checkpoint, the one to use first


@dataclasses.dataclass(frozen=True)
class CheckpointFile:
    """Attributes:
    tensors: the state dict, names as published, arrays of the stored type (read-only).
    rest: what else a training checkpoint holds, e.g. `hyper_parameters`; objects are `StandIn`s. Empty for a bare state dict.
    """

    tensors: dict[str, np.ndarray]
    rest: dict[str, Any]


def read_checkpoint(path: Path) -> CheckpointFile:
    """The content of a file of weights.

    Raises:
      CheckpointError: not such a file, a damaged one, or one that asks for code to be run. OSError.
    """
    try:
        content = np.asarray(np.memmap(path, np.uint8, "r")) if path.stat().st_size else np.zeros(0, np.uint8)
        return _split(_read(content))
    except CheckpointError as error:
        raise CheckpointError(f"{path} {error}") from error


def _read(content: np.ndarray) -> Any:
    start = content[:16].tobytes()
    if start.startswith(ZIP_START):
        return read_zip(content)
    if start.startswith(LEGACY_START):
        return read_legacy(content)
    if start[8:9] == b"{":
        return read_safetensors(content)
    raise CheckpointError("is no file of weights: it is neither what torch.save writes nor .safetensors")


def _split(content: Any) -> CheckpointFile:
    if isinstance(content, StandIn) and content.name.startswith("__torch__."):
        content = _module_state(content)
    rest = content if isinstance(content, dict) else {}
    state = next((rest[name] for name in TABLES if isinstance(rest.get(name), dict)), rest)
    if not isinstance(state, dict) or not any(isinstance(value, np.ndarray) for value in state.values()):
        raise CheckpointError("holds no state dict: a table of names and tensors")
    tensors = {str(name): value for name, value in state.items() if isinstance(value, np.ndarray)}
    return CheckpointFile(tensors, {} if state is rest else {name: value for name, value in rest.items() if value is not state})


def _module_state(module: StandIn, depth: int = 0) -> dict[str, np.ndarray]:
    """The state dict of a TorchScript archive: arrays among the attributes of its modules, by dotted name."""
    if depth > DEEPEST_MODULE:
        raise CheckpointError("is damaged: its modules hold one another")
    found = {}
    for name, value in (module.state if isinstance(module.state, dict) else {}).items():
        if isinstance(value, np.ndarray):
            found[str(name)] = value
        elif isinstance(value, StandIn):
            found |= {f"{name}.{inner}": array for inner, array in _module_state(value, depth + 1).items()}
    return found


def require_name(path: Path) -> None:
    """Finds out before the work whether a file of weights can be written there.

    Raises:
      CheckpointError: it exists, its folder does not, its name ends otherwise, or PyTorch is needed and missing.
    """
    if path.suffix not in (".ckpt", ".safetensors"):
        raise CheckpointError(f"cannot write {path}: give a name that ends in .ckpt or .safetensors")
    if path.exists():
        raise CheckpointError(f"{path} exists already; give a name that does not")
    if not path.parent.is_dir():
        raise CheckpointError(f"cannot write {path}: the folder {path.parent} does not exist")
    if path.suffix == ".ckpt":
        _import_torch(path)


def write_state(
    path: Path, tensors: Mapping[str, np.ndarray], rest: Mapping[str, Any] | None = None, table: str = "state_dict"
) -> None:
    """Writes a state dict, whole or not at all: .safetensors, or .ckpt with the tensors under `table` and `rest` beside it.

    Raises:
      CheckpointError: see `require_name`.
    """
    require_name(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        if path.suffix == ".ckpt":
            torch = _import_torch(path)
            state = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
            torch.save({table: state, **(rest or {})}, partial)
        else:
            write_safetensors(partial, tensors)
        flush(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _import_torch(path: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        message = f'writing {path} needs PyTorch: pip install "tokjax[torch]", or give a name that ends in .safetensors'
        raise CheckpointError(message) from error
    return torch
