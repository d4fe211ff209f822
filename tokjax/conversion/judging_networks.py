"""Published weights of Inception-v3 (FID) and I3D (FVD) become the one file each that evaluation reads.

Read are what torch.save writes, TorchScript archives, .safetensors and .npz; no code of theirs is run and PyTorch is not needed.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tokjax.conversion.checkpoint_files import CheckpointError, read_checkpoint
from tokjax.evaluation.networks import shapes_of
from tokjax.losses.weight_files import ORIGINS, save_weights

INCEPTION_SHA256 = "6726825d"  # the first digits of that of pt_inception-2015-12-05, which its name bears
# I3D of another training in VideoGPT's layout: distances with it compare with nobody's.
OTHER_TRAININGS = ("rgb_imagenet", "model_rgb", "rgb_charades")
_DROPPED = re.compile(r"num_batches_tracked$|^AuxLogits\.")
_BATCH_NORM = {"scale": "weight", "bias": "bias", "mean": "running_mean", "variance": "running_var"}

State = Mapping[str, np.ndarray]
Rename = Callable[[str, str], str]


def convert_network(network: str, source: Path, output: Path) -> dict[str, Any]:
    """Writes the file of "inception" or "i3d".

    Returns:
      What the file says of itself: network, digest, sources, notes (doubts about the source, each a sentence).

    Raises:
      CheckpointError: the source is damaged or of another network, or the file cannot be written. OSError.
    """
    state = _state(source)
    layout, rename = _layout(network, state, source)
    shapes = shapes_of(network)
    weights = {
        layer: {leaf: _take(state, (layer, leaf), shape, rename, source) for leaf, shape in leaves.items()}
        for layer, leaves in shapes.items()
    }
    known = {rename(layer, leaf) for layer, leaves in shapes.items() for leaf in leaves}
    if extra := sorted(set(state) - known):
        raise CheckpointError(f"{source} holds {len(extra)} tensors that {network} has not, the first is {extra[0]}")
    with open(source, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    notes = _doubts(network, source, digest)
    return save_weights(output, weights, network, {source.name: digest, "layout": layout}, notes)


def _state(source: Path) -> dict[str, np.ndarray]:
    """The tensors, whatever holds them, without what the network does not need."""
    if source.suffix == ".npz":
        state = _read_npz(source)
    else:
        content = read_checkpoint(source)
        state = content.tensors
    names = {name: name.removeprefix("module.") for name in state}
    return {new: state[old] for old, new in names.items() if not _DROPPED.search(new)}


def _read_npz(source: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(source, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise CheckpointError(f"{source} is cut short or damaged, or holds objects rather than arrays ({error})") from error


def _layout(network: str, state: State, source: Path) -> tuple[str, Rename]:
    """Its name, and the tensor that a layer's array is called there."""
    if network == "inception":
        if "fc.weight" in state:
            return "pytorch-fid", _of_inception
    elif "Conv3d_1a_7x7.conv3d.weight" in state:
        return "videogpt", _of_videogpt
    elif "conv3d_1a_7x7.conv3d.weight" in state:
        return "torchscript", _of_torchscript
    raise CheckpointError(f"{source} holds no weights of {network}: wanted is {ORIGINS[network][0]}")


def _of_inception(layer: str, leaf: str) -> str:
    if layer == "fc":
        return f"fc.{'weight' if leaf == 'kernel' else leaf}"
    return f"{layer}.conv.weight" if leaf == "kernel" else f"{layer}.bn.{_BATCH_NORM[leaf]}"


def _of_videogpt(layer: str, leaf: str) -> str:
    if leaf == "kernel" or layer == "logits":
        return f"{layer}.conv3d.{'weight' if leaf == 'kernel' else leaf}"
    return f"{layer}.bn.{_BATCH_NORM[leaf]}"


def _of_torchscript(layer: str, leaf: str) -> str:
    if layer == "logits":
        return _of_videogpt(layer, leaf).replace("logits", "conv3d_0c_1x1")
    places = {"b0": "branch_0", "b1a": "branch_1.0", "b1b": "branch_1.1", "b2a": "branch_2.0", "b2b": "branch_2.1"}
    places |= {"b3b": "branch_3.1"}
    block, _, branch = layer.partition(".")
    layer = block.lower() + (f".{places[branch]}" if branch else "")
    return f"{layer}.conv3d.weight" if leaf == "kernel" else f"{layer}.batch3d.{_BATCH_NORM[leaf]}"


def _take(state: State, ours: tuple[str, str], shape: tuple[int, ...], rename: Rename, source: Path) -> np.ndarray:
    """One array in our order of axes: convolutions [time, height, width, in, out], linear layers [in, out]."""
    name = rename(*ours)
    if name not in state:
        raise CheckpointError(f"{source} lacks the tensor {name}; it is cut down or of another network")
    tensor = np.asarray(state[name], np.float32)
    if ours[1] == "kernel":
        tensor = np.moveaxis(tensor, (0, 1), (-1, -2))  # out and in come last
        tensor = tensor.reshape((1, *tensor.shape) if tensor.ndim == 4 else tensor.shape)
        if len(shape) == 2:
            tensor = tensor.reshape(tensor.shape[-2:])
    if tensor.shape != shape:
        raise CheckpointError(f"the tensor {name} in {source} has shape {state[name].shape}; it is of another network")
    if not np.isfinite(tensor).all():
        raise CheckpointError(f"the tensor {name} in {source} holds values that are not finite")
    return np.ascontiguousarray(tensor)


def _doubts(network: str, source: Path, digest: str) -> list[str]:
    if network == "inception" and not digest.startswith(INCEPTION_SHA256):
        return [
            f"{source.name} has the sha256 {digest[:8]}..., not {INCEPTION_SHA256}... of the published file: "
            "distances may not be those that others report"
        ]
    if network == "i3d" and any(name in source.name.lower() for name in OTHER_TRAININGS):
        return [f"{source.name} looks like the I3D of another training, with which FVD compares with nobody's numbers"]
    return []
