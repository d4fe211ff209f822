"""LPIPS, the distance between images as a network that recognises objects sees them (Zhang et al., arXiv 1801.03924, v0.1).

The network's weights and the five learned heads come from one file, which `tokjax convert perceptual` makes of the published ones
and `load_perceptual` reads. They are never trained, and the published dropout before the heads is off.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tokjax.losses.features import NETWORKS, activations, tap_channels

# Of -1..1 images, to what the networks were trained on.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
EPSILON = 1e-10

Weights = dict[str, dict[str, Any]]


class PerceptualError(ValueError):
    """A file of perceptual weights that is missing, damaged or of another network; the message is one sentence."""


def lpips(variables: Weights, x: jax.Array, y: jax.Array, network: str = "vgg16") -> jax.Array:
    """The distance of each pair of images, float32 [n].

    Positions where no channel is active have the unit vector 0 and gradient 0; the published code gives them an infinite slope.

    Args:
      variables: see `load_perceptual`; pass them to a jitted function as an argument, they are large.
      x, y: [n,h,w,3] in -1..1. Gradients with respect to one of them cost nothing for the other.
      network: "vgg16" or "alexnet".
    """
    total = jnp.zeros(x.shape[0], jnp.float32)
    ours, theirs = (activations(variables, _normalised(images), network) for images in (x, y))
    for tap, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        difference = jnp.square(_unit(a) - _unit(b))
        total += jnp.mean(difference @ variables[f"head_{tap}"]["kernel"], axis=(1, 2))
    return total


def _normalised(images: jax.Array) -> jax.Array:
    return (images.astype(jnp.float32) - jnp.array(SHIFT)) / jnp.array(SCALE)


def _unit(features: jax.Array) -> jax.Array:
    """Each position's channels scaled to length 1."""
    squares = jnp.sum(jnp.square(features), axis=-1, keepdims=True)
    active = squares > 0
    length = jnp.sqrt(jnp.where(active, squares, 1.0))
    return jnp.where(active, features / (length + EPSILON), 0.0)


def shapes(network: str) -> dict[str, dict[str, tuple[int, ...]]]:
    """Of the arrays in `variables`."""
    layers = {layer.name: {"kernel": layer.shape, "bias": (layer.features,)} for layer in NETWORKS[network]}
    return layers | {f"head_{tap}": {"kernel": (channels,)} for tap, channels in enumerate(tap_channels(network))}


def weights_digest(variables: Mapping[str, Mapping[str, np.ndarray]]) -> str:
    """Names the weights: sha256 of all names and values."""
    total = hashlib.sha256()
    for layer in sorted(variables):
        for name in sorted(variables[layer]):
            total.update(f"{layer}/{name}".encode())
            total.update(np.ascontiguousarray(variables[layer][name], "<f4").tobytes())
    return total.hexdigest()


def save_perceptual(
    path: Path, variables: Weights, network: str, sources: Mapping[str, str], notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Writes the file that `load_perceptual` reads, and returns what it says of itself.

    Args:
      sources: digests of the files that the weights were read from, by name.
      notes: what there is to say about them, each a sentence.
    """
    about = {"network": network, "digest": weights_digest(variables), "sources": dict(sources), "notes": list(notes)}
    arrays = {f"{layer}/{name}": value for layer, values in variables.items() for name, value in values.items()}
    with open(path, "wb") as file:
        np.savez(file, about=np.array(json.dumps(about)), **arrays)
    return about


def about_perceptual(path: str | Path) -> dict[str, Any]:
    """What a file says of itself: `network`, `digest` of the weights, `sources` and `notes`.

    Raises:
      PerceptualError
    """
    return _read(Path(path), names=("about",))[0]


def load_perceptual(path: str | Path, network: str = "vgg16") -> Weights:
    """The weights in a file, as arrays of NumPy.

    Raises:
      PerceptualError: the file is missing, damaged, or of another network.
    """
    about, flat = _read(Path(path))
    if about.get("network") != network:
        raise PerceptualError(f"{path} holds the network {about.get('network')}, not {network}; {_how(network)}")
    expected = {f"{layer}/{name}": shape for layer, values in shapes(network).items() for name, shape in values.items()}
    if {name: value.shape for name, value in flat.items()} != expected:
        raise PerceptualError(f"{path} does not hold the weights of {network}; {_how(network)}")
    variables: Weights = {}
    for name, value in flat.items():
        layer, _, leaf = name.partition("/")
        variables.setdefault(layer, {})[leaf] = value
    if weights_digest(variables) != about.get("digest"):
        raise PerceptualError(f"{path} is damaged: its weights are not those that were written; {_how(network)}")
    return variables


def _read(path: Path, names: tuple[str, ...] = ()) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names or file.files}
        return dict(json.loads(str(arrays.pop("about")))), arrays
    except FileNotFoundError as error:
        raise PerceptualError(f"there is no file of perceptual weights {path}; {_how('vgg16')}") from error
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise PerceptualError(f"{path} is no file of perceptual weights, or a damaged one; {_how('vgg16')}") from error


def _how(network: str) -> str:
    heads = {"vgg16": "vgg.pth", "alexnet": "alex.pth"}[network]
    return (
        f"make it with `tokjax convert perceptual --{network} {network}.pth --lpips {heads} -o FILE` from torchvision's ImageNet "
        f"weights and the heads {heads} of the LPIPS authors' repository (richzhang/PerceptualSimilarity, weights/v0.1)"
    )
