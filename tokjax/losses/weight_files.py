"""Files with the published weights of networks that judge, which `tokjax convert perceptual` makes; nothing is ever fetched.

One file holds one network, as arrays by "layer/leaf" and as JSON what the file says of itself.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Weights = dict[str, dict[str, Any]]

_HEADS = "(richzhang/PerceptualSimilarity, weights/v0.1)"
_VGG = f"torchvision's vgg16-397923af.pth and the LPIPS authors' vgg.pth {_HEADS}"
_ALEX = f"torchvision's alexnet-owt-7be5be79.pth and the LPIPS authors' alex.pth {_HEADS}"
_FID = "pt_inception-2015-12-05-6726825d.pth, of the releases of mseitzer/pytorch-fid"
_FVD = "i3d_pretrained_400.pt of VideoGPT (wilson1yan/VideoGPT) or i3d_torchscript.pt of StyleGAN-V (universome/stylegan-v)"
# What each network is made of, and the arguments that make it.
ORIGINS = {
    "vgg16": (_VGG, "--vgg16 vgg16-397923af.pth --lpips vgg.pth"),
    "alexnet": (_ALEX, "--alexnet alexnet-owt-7be5be79.pth --lpips alex.pth"),
    "inception": (_FID, "--inception pt_inception-2015-12-05-6726825d.pth"),
    "i3d": (_FVD, "--i3d i3d_pretrained_400.pt"),
}


class PerceptualError(ValueError):
    """A file of weights that is missing, damaged or of another network; the message is one sentence."""


def how_to_make(network: str) -> str:
    """The end of a sentence on what is missing."""
    origin, arguments = ORIGINS[network]
    return f"make it with `tokjax convert perceptual {arguments} -o {network}.npz` from {origin}"


def weights_digest(weights: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """Names the weights: sha256 of all names and values."""
    total = hashlib.sha256()
    for layer in sorted(weights):
        for name in sorted(weights[layer]):
            total.update(f"{layer}/{name}".encode())
            total.update(np.ascontiguousarray(weights[layer][name], "<f4").tobytes())
    return total.hexdigest()


def save_weights(
    path: Path, weights: Weights, network: str, sources: Mapping[str, str], notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Writes a file, whole or not at all, and returns what it says of itself.

    Args:
      sources: digests of the files that the weights were read from, by name.
      notes: what there is to say about them, each a sentence.
    """
    about = {"network": network, "digest": weights_digest(weights), "sources": dict(sources), "notes": list(notes)}
    arrays = {f"{layer}/{name}": value for layer, values in weights.items() for name, value in values.items()}
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            np.savez(file, about=np.array(json.dumps(about)), **arrays)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return about


def about_weights(path: str | Path) -> dict[str, Any]:
    """What a file says of itself: `network`, `digest` of the weights, `sources` and `notes`. Raises PerceptualError."""
    return _read(Path(path), names=("about",))[0]


def read_weights(path: str | Path) -> tuple[dict[str, Any], Weights]:
    """What a file says of itself, and its arrays by layer and leaf, which are those that were written. Raises PerceptualError."""
    about, arrays = _read(Path(path))
    weights: Weights = {}
    for name, value in arrays.items():
        layer, _, leaf = name.partition("/")
        weights.setdefault(layer, {})[leaf] = value
    if weights_digest(weights) != about.get("digest"):
        how = how_to_make(about.get("network") if about.get("network") in ORIGINS else _guessed(Path(path)))
        raise PerceptualError(f"{path} is damaged: its weights are not those that were written; {how}")
    return about, weights


def require_shapes(path: str | Path, network: str, weights: Weights, shapes: Mapping[str, Mapping[str, tuple[int, ...]]]) -> None:
    """Raises PerceptualError where the weights of a file are not those of the network, by layer and leaf."""
    found = {layer: {name: value.shape for name, value in values.items()} for layer, values in weights.items()}
    if found != shapes:
        raise PerceptualError(f"{path} does not hold the weights of {network}; {how_to_make(network)}")


def _read(path: Path, names: tuple[str, ...] = ()) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names or file.files}
        return dict(json.loads(str(arrays.pop("about")))), arrays
    except FileNotFoundError as error:
        raise PerceptualError(f"there is no file of weights {path}; {how_to_make(_guessed(path))}") from error
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        message = f"{path} is no file that `tokjax convert perceptual` wrote, or a damaged one; {how_to_make(_guessed(path))}"
        raise PerceptualError(message) from error


def _guessed(path: Path) -> str:
    """The network that a file's name speaks of."""
    return next((name for name in ORIGINS if name in path.name.lower()), "vgg16")
