"""The networks that judge, and the local files that hold their weights: one file each, made by `tokjax convert perceptual`.

VGG16 and AlexNet with the heads of LPIPS (tokjax.losses.perceptual), Inception-v3 for FID, I3D for FVD. Nothing is ever fetched.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from tokjax.evaluation import i3d, inception
from tokjax.losses.features import NETWORKS
from tokjax.losses.perceptual import PerceptualError, load_perceptual, weights_digest

_VGG = "torchvision's vgg16-397923af.pth and the LPIPS authors' vgg.pth (richzhang/PerceptualSimilarity, weights/v0.1)"
_ALEX = "torchvision's alexnet-owt-7be5be79.pth and the LPIPS authors' alex.pth (richzhang/PerceptualSimilarity, weights/v0.1)"
_FID = "pt_inception-2015-12-05-6726825d.pth, of the releases of mseitzer/pytorch-fid"
_FVD = "i3d_pretrained_400.pt of VideoGPT (wilson1yan/VideoGPT) or i3d_torchscript.pt of StyleGAN-V (universome/stylegan-v)"
# What each network is made of, and the command that makes it.
ORIGINS = {
    "vgg16": (_VGG, "--vgg16 vgg16-397923af.pth --lpips vgg.pth"),
    "alexnet": (_ALEX, "--alexnet alexnet-owt-7be5be79.pth --lpips alex.pth"),
    "inception": (_FID, "--inception pt_inception-2015-12-05-6726825d.pth"),
    "i3d": (_FVD, "--i3d i3d_pretrained_400.pt"),
}


def how_to_make(network: str) -> str:
    """The end of a sentence on what is missing."""
    origin, arguments = ORIGINS[network]
    return f"make it with `tokjax convert perceptual {arguments} -o {network}.npz` from {origin}"


class Weights:
    """Of one network, from its file.

    Attributes:
      network: its name.
      about: what the file says of itself: digest, sources, notes.
      params: for `lpips`, or for `apply` of the network's module.
    """

    def __init__(self, path: str | Path) -> None:
        """Reads and checks the file. Raises PerceptualError: it is missing, damaged, or of a network unknown here."""
        path = Path(path)
        self.about, arrays = _read(path)
        self.network = self.about.get("network", "")
        if self.network in NETWORKS:
            self.params: Any = load_perceptual(path, self.network)
        elif self.network in ORIGINS:
            self.params = _nested(self.network, arrays, self.about, path)
        else:
            raise PerceptualError(f"{path} holds the network {self.network!r}, which is none of {', '.join(ORIGINS)}")


def open_all(paths: Iterable[str | Path]) -> dict[str, Weights]:
    """Files by their network's name. Raises PerceptualError, also for two files of one network."""
    found: dict[str, Weights] = {}
    for path in paths:
        weights = Weights(path)
        if weights.network in found:
            raise PerceptualError(f"{path} is the second file with weights of {weights.network}; give one of each network")
        found[weights.network] = weights
    return found


def needed(weights: Mapping[str, Weights], network: str, purpose: str) -> Weights:
    """The weights of a network. Raises PerceptualError where its file was not given."""
    if network not in weights:
        raise PerceptualError(
            f"{purpose} needs the weights of {network}: give their file with --weights, or name other metrics with --metrics; "
            f"{how_to_make(network)}"
        )
    return weights[network]


def module_of(network: str, epsilon: float = 1e-5, temporal_padding: str = "same") -> nn.Module:
    """The flax module of "inception" or "i3d"; the settings are I3D's."""
    return inception.Inception() if network == "inception" else i3d.I3D(epsilon, temporal_padding)


@cache
def template(network: str) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Shapes of a network's parameters by their path."""
    shape = (1, inception.SIDE, inception.SIDE, 3) if network == "inception" else (1, i3d.LEAST_FRAMES, i3d.SIDE, i3d.SIDE, 3)
    init = jax.eval_shape(module_of(network).init, jax.random.key(0), jax.ShapeDtypeStruct(shape, np.float32))
    return {path: leaf.shape for path, leaf in flatten_dict(init["params"]).items()}


def layered(network: str, flat: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Arrays by dotted name -> by layer and leaf, as files keep them."""
    layers: dict[str, dict[str, np.ndarray]] = {}
    for path in template(network):
        layer, _, leaf = ".".join(path).rpartition(".")
        layers.setdefault(layer, {})[leaf] = flat[f"{layer}.{leaf}"]
    return layers


def _nested(network: str, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any], path: Path) -> dict[str, Any]:
    flat = {name.replace("/", "."): value for name, value in arrays.items()}
    expected = {".".join(path): shape for path, shape in template(network).items()}
    if {name: value.shape for name, value in flat.items()} != expected:
        raise PerceptualError(f"{path} does not hold the weights of {network}; {how_to_make(network)}")
    if weights_digest(layered(network, flat)) != about.get("digest"):
        raise PerceptualError(f"{path} is damaged: its weights are not those that were written; {how_to_make(network)}")
    return unflatten_dict({path: flat[".".join(path)] for path in template(network)})


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return dict(json.loads(str(arrays.pop("about")))), arrays
    except FileNotFoundError as error:
        raise PerceptualError(f"there is no file of weights {path}; {how_to_make(_guessed(path))}") from error
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        message = f"{path} is no file that `tokjax convert perceptual` wrote, or a damaged one; {how_to_make(_guessed(path))}"
        raise PerceptualError(message) from error


def _guessed(path: Path) -> str:
    """The network that a file's name speaks of."""
    return next((name for name in ORIGINS if name in path.name.lower()), "vgg16")
