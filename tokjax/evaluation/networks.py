"""The networks that judge, and the local files that hold their weights: one file each, made by `tokjax convert perceptual`.

VGG16 and AlexNet with the heads of LPIPS (tokjax.losses.perceptual), Inception-v3 for FID, I3D for FVD. Nothing is ever fetched.
"""

from __future__ import annotations

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
from tokjax.losses.perceptual import shapes as lpips_shapes
from tokjax.losses.weight_files import ORIGINS, PerceptualError, how_to_make, read_weights, require_shapes


class Weights:
    """Of one network, from its file.

    Attributes:
      network: its name.
      about: what the file says of itself: digest, sources, notes.
      params: for `lpips`, or for `apply` of the network's module.
    """

    def __init__(self, path: str | Path) -> None:
        """Reads and checks the file. Raises PerceptualError: it is missing, damaged, or of a network unknown here."""
        self.about, weights = read_weights(path)
        self.network = self.about.get("network", "")
        if self.network not in ORIGINS:
            raise PerceptualError(f"{path} holds the network {self.network!r}, which is none of {', '.join(ORIGINS)}")
        require_shapes(path, self.network, weights, shapes_of(self.network))
        self.params: Any = weights
        if self.network not in NETWORKS:
            places = {path: _in_file(path) for path in _parameters(self.network)}
            self.params = unflatten_dict({path: weights[layer][leaf] for path, (layer, leaf) in places.items()})


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


def shapes_of(network: str) -> dict[str, dict[str, tuple[int, ...]]]:
    """Of a network's arrays, by layer and leaf as files keep them; layers within layers have dots in their names."""
    if network in NETWORKS:
        return lpips_shapes(network)
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for path, shape in _parameters(network).items():
        layer, leaf = _in_file(path)
        shapes.setdefault(layer, {})[leaf] = shape
    return shapes


@cache
def _parameters(network: str) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Shapes of what its module keeps, by path."""
    shape = (1, inception.SIDE, inception.SIDE, 3) if network == "inception" else (1, i3d.LEAST_FRAMES, i3d.SIDE, i3d.SIDE, 3)
    init = jax.eval_shape(module_of(network).init, jax.random.key(0), jax.ShapeDtypeStruct(shape, np.float32))
    return {path: leaf.shape for path, leaf in flatten_dict(init["params"]).items()}


def _in_file(path: tuple[str, ...]) -> tuple[str, str]:
    layer, _, leaf = ".".join(path).rpartition(".")
    return layer, leaf
