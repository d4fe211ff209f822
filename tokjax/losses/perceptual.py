"""LPIPS, the distance between images as a network that recognises objects sees them (Zhang et al., arXiv 1801.03924, v0.1).

The network's weights and the five learned heads come from one file, which `tokjax convert perceptual` makes of the published ones
and `load_perceptual` reads. They are never trained, and the published dropout before the heads is off.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp

from tokjax.losses.features import NETWORKS, activations, tap_channels
from tokjax.losses.weight_files import PerceptualError, Weights, how_to_make, read_weights, require_shapes

# Of -1..1 images, to what the networks were trained on.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
EPSILON = 1e-10


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


def load_perceptual(path: str | Path, network: str = "vgg16") -> Weights:
    """The weights in a file, as arrays of NumPy.

    Raises:
      PerceptualError: the file is missing, damaged, or of another network.
    """
    about, weights = read_weights(path)
    if about.get("network") != network:
        raise PerceptualError(f"{path} holds the network {about.get('network')}, not {network}; {how_to_make(network)}")
    require_shapes(path, network, weights, shapes(network))
    return weights
