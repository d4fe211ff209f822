"""The convolutional stacks whose activations say how alike two images look: VGG16 and AlexNet, in torchvision's layout.

VGG16: Simonyan and Zisserman, arXiv 1409.1556. AlexNet: the single-column form of Krizhevsky, arXiv 1404.5997. Images are
[n,h,w,3], channels last.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution followed by ReLU.

    Attributes:
      index: its place in torchvision's `features`.
      kernel: side; pads are on all four sides.
      pool: (side, stride) of a maximum over its input first, or None.
      tap: whether its activation is one of those that are compared.
    """

    index: int
    inputs: int
    features: int
    kernel: int = 3
    stride: int = 1
    pad: int = 1
    pool: tuple[int, int] | None = None
    tap: bool = False

    @property
    def name(self) -> str:
        return f"conv_{self.index}"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the kernel, [height, width, in, out]."""
        return self.kernel, self.kernel, self.inputs, self.features


def _vgg16() -> tuple[Layer, ...]:
    layers, index, inputs = [], 0, 3
    for stage, (count, features) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))):
        for turn in range(count):
            pool = (2, 2) if stage and turn == 0 else None
            layers.append(Layer(index, inputs, features, pool=pool, tap=turn == count - 1))
            index, inputs = index + 2, features
        index += 1  # the maximum between stages has a place of its own
    return tuple(layers)


NETWORKS: dict[str, tuple[Layer, ...]] = {
    "vgg16": _vgg16(),
    "alexnet": (
        Layer(0, 3, 64, kernel=11, stride=4, pad=2, tap=True),
        Layer(3, 64, 192, kernel=5, pad=2, pool=(3, 2), tap=True),
        Layer(6, 192, 384, pool=(3, 2), tap=True),
        Layer(8, 384, 256, tap=True),
        Layer(10, 256, 256, tap=True),
    ),
}


def tap_channels(network: str) -> tuple[int, ...]:
    """Channels of the activations that are compared."""
    return tuple(layer.features for layer in NETWORKS[network] if layer.tap)


def smallest_side(network: str) -> int:
    """Height and width below which the network has nothing left to compare."""
    side = 1
    for layer in reversed(NETWORKS[network]):
        side = max(1, (side - 1) * layer.stride + layer.kernel - 2 * layer.pad)
        if layer.pool:
            side = (side - 1) * layer.pool[1] + layer.pool[0]
    return side


def activations(weights: Mapping[str, Mapping[str, jax.Array]], images: jax.Array, network: str) -> list[jax.Array]:
    """The activations that are compared, [n,h',w',c] each, first layer first.

    Args:
      weights: layer name -> {"kernel" [height, width, in, out], "bias" [out]}.
      images: [n,h,w,3], normalised as the network was trained.
    """
    x, taps = images, []
    for layer in NETWORKS[network]:
        if layer.pool:
            x = _maxima(x, *layer.pool)
        kernel, pads = weights[layer.name]["kernel"], [(layer.pad, layer.pad)] * 2
        x = jax.lax.conv_general_dilated(x, kernel, (layer.stride,) * 2, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x + weights[layer.name]["bias"])
        if layer.tap:
            taps.append(x)
    return taps


def _maxima(x: jax.Array, side: int, stride: int) -> jax.Array:
    return jax.lax.reduce_window(x, np.array(-jnp.inf, x.dtype), jax.lax.max, (1, side, side, 1), (1, stride, stride, 1), "VALID")
