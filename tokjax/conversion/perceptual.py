"""Published perceptual weights become the one file that training reads: a network of torchvision's and the heads of LPIPS.

The pair also lies within released checkpoints of VidTok and OmniTokenizer, where training left it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tokjax.conversion.checkpoint_files import CheckpointError, read_checkpoint
from tokjax.losses.features import NETWORKS, tap_channels
from tokjax.losses.weight_files import Weights, save_weights

HEADS_MD5 = {"vgg16": "d507d7349b931f0638a25a48a722f98a"}  # of vgg.pth, v0.1, as the LPIPS authors published it

State = Mapping[str, np.ndarray]


def convert_perceptual(network: str, weights: Path, heads: Path, output: Path) -> dict[str, Any]:
    """Writes the file that `load_perceptual` reads.

    Args:
      network: "vgg16" or "alexnet".
      weights: torchvision's file of that network, trained on ImageNet.
      heads: the LPIPS authors' file for it, vgg.pth or alex.pth.

    Returns:
      What the file says of itself: network, digest, sources, notes (doubts about the sources, each a sentence).

    Raises:
      CheckpointError: a file is damaged, of another network, or cannot be written. OSError.
    """
    require_output(output)
    layers = _layers(read_checkpoint(weights).tensors, network, weights, "features.{index}")
    variables = layers | _heads(read_checkpoint(heads).tensors, network, heads)
    notes = [note for note in (_doubt_of_heads(network, heads), _doubt_of_weights(weights)) if note]
    return _write(output, variables, network, (weights, heads), notes)


def convert_from_checkpoint(checkpoint: Path, output: Path) -> dict[str, Any]:
    """The same of the VGG16 and heads within a released checkpoint, or in what `tokjax convert --with-discriminator` kept of one.

    Raises:
      CheckpointError: see `convert_perceptual`, or there are none in it. OSError.
    """
    require_output(output)
    variables = weights_in(read_checkpoint(checkpoint).tensors, checkpoint)
    return _write(output, variables, "vgg16", (checkpoint,), [])


def weights_in(state: State, path: Path) -> Weights:
    """The weights of VGG16 and its heads among tensors that were read from `path`, whatever their names begin with.

    Raises:
      CheckpointError: there are none, or they are damaged.
    """
    mark = "net.slice1.0.weight"
    prefix = next((name.removesuffix(mark) for name in sorted(state) if name.endswith(mark)), None)
    if prefix is None:
        raise CheckpointError(
            f"{path} holds no perceptual network: no tensor is called {mark}; make the file of torchvision's weights and "
            "the LPIPS heads with `tokjax convert perceptual --vgg16 vgg16.pth --lpips vgg.pth -o FILE`"
        )
    layers = _layers(state, "vgg16", path, prefix + "net.slice{slice}.{index}")
    return layers | _heads(state, "vgg16", path, prefix)


def require_output(output: Path) -> None:
    """Finds out before the work whether the file can be written.

    Raises:
      CheckpointError
    """
    if output.suffix != ".npz":
        raise CheckpointError(f"cannot write {output}: give a name that ends in .npz")
    if output.exists():
        raise CheckpointError(f"{output} exists already; give a name that does not")
    if not output.parent.is_dir():
        raise CheckpointError(f"cannot write {output}: the folder {output.parent} does not exist")


def _write(output: Path, variables: Weights, network: str, sources: tuple[Path, ...], notes: list[str]) -> dict[str, Any]:
    return save_weights(output, variables, network, {source.name: _digest(source, "sha256") for source in sources}, notes)


def _layers(state: State, network: str, path: Path, name: str) -> Weights:
    """The convolutions; `name` is where a state dict keeps each, made of its index and of the slice up to a tap it is in."""
    layers, slice_ = {}, 1
    for layer in NETWORKS[network]:
        place = name.format(index=layer.index, slice=slice_)
        side, _, inputs, outputs = layer.shape
        kernel = _take(state, f"{place}.weight", (outputs, inputs, side, side), network, path)
        bias = _take(state, f"{place}.bias", (outputs,), network, path)
        layers[layer.name] = {"kernel": np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)), "bias": bias}
        slice_ += layer.tap
    return layers


def _heads(state: State, network: str, path: Path, prefix: str = "") -> Weights:
    heads = {}
    for tap, channels in enumerate(tap_channels(network)):
        weight = _take(state, f"{prefix}lin{tap}.model.1.weight", (1, channels, 1, 1), network, path)
        heads[f"head_{tap}"] = {"kernel": weight.reshape(channels)}
    return heads


def _take(state: State, name: str, shape: tuple[int, ...], network: str, path: Path) -> np.ndarray:
    if name not in state:
        raise CheckpointError(f"{path} lacks the tensor {name}, which {network} needs; is it a file of another network?")
    tensor = np.asarray(state[name])
    if tensor.shape != shape:
        raise CheckpointError(
            f"the tensor {name} in {path} has shape {tensor.shape}, but {network} needs {shape}; is it a file of another network?"
        )
    tensor = np.array(tensor, np.float32)
    if not np.isfinite(tensor).all():
        raise CheckpointError(f"the tensor {name} in {path} holds values that are not finite")
    return tensor


def _doubt_of_heads(network: str, path: Path) -> str:
    published, found = HEADS_MD5.get(network), _digest(path, "md5")
    if published in (None, found):
        return ""
    return (
        f"{path.name} has the md5 {found}, not {published} of the published heads: distances may not be those that others report"
    )


def _doubt_of_weights(path: Path) -> str:
    """torchvision ends the names of its files with the first digits of their sha256."""
    promised, found = path.stem.rpartition("-")[2], _digest(path, "sha256")
    if len(promised) != 8 or found.startswith(promised):
        return ""
    return f"{path.name} has the sha256 {found[:8]}..., not {promised}... as its name promises: it is not torchvision's own file"


def _digest(path: Path, kind: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()
