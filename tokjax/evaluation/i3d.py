"""I3D, Inception-v1 inflated to video and trained on Kinetics-400, whose logits FVD compares (Carreira, Zisserman, 1705.07750).

Layers bear the names of VideoGPT's state dict (`i3d_pretrained_400.pt`). The published ports differ in two numbers, which belong
to a protocol: the epsilon of batch normalisation, and how an odd number of frames is padded.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from tokjax.evaluation.inception_layers import Unit, maxima

SIDE = 224  # pixels of its frames
LEAST_FRAMES = 9  # of which two are left before the last mean
CLASSES = 400

# Features of a block's six convolutions: b0, b1a, b1b, b2a, b2b, b3b. A tuple is a maximum over that window with those strides.
LAYERS: dict[str, list[int] | tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "Mixed_3b": [64, 96, 128, 16, 32, 32],
    "Mixed_3c": [128, 128, 192, 32, 96, 64],
    "MaxPool3d_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "Mixed_4b": [192, 96, 208, 16, 48, 64],
    "Mixed_4c": [160, 112, 224, 24, 64, 64],
    "Mixed_4d": [128, 128, 256, 24, 64, 64],
    "Mixed_4e": [112, 144, 288, 32, 64, 64],
    "Mixed_4f": [256, 160, 320, 32, 128, 128],
    "MaxPool3d_5a_2x2": ((2, 2, 2), (2, 2, 2)),
    "Mixed_5b": [256, 160, 320, 32, 128, 128],
    "Mixed_5c": [384, 192, 384, 48, 128, 128],
}


class I3D(nn.Module):
    """Call with float32 videos [b,t,h,w,3] in -1..1, 9 frames or more of 193 to 224 pixels a side.

    Returns:
      logits [b,400], the mean over time. With mutable=["taps"] what each layer gives is kept too, as "after_" and its name.

    Attributes:
      epsilon: of batch normalisation: 1e-5 in VideoGPT's code, 1e-3 in TF-hub's and in the TorchScript of StyleGAN-V.
      temporal_padding: "same" as TensorFlow pads, or "static", as if the frames were a multiple of each stride.
    """

    epsilon: float
    temporal_padding: str = "same"

    @nn.compact
    def __call__(self, video: jax.Array) -> jax.Array:
        _check(video)
        x = self._tapped("Conv3d_1a_7x7", self._unit("Conv3d_1a_7x7", 64, 7, 2, video)(video))
        x = self._pooled("MaxPool3d_2a_3x3", x, (1, 3, 3), (1, 2, 2))
        x = self._tapped("Conv3d_2b_1x1", self._unit("Conv3d_2b_1x1", 64, 1, 1, x)(x))
        x = self._tapped("Conv3d_2c_3x3", self._unit("Conv3d_2c_3x3", 192, 3, 1, x)(x))
        x = self._pooled("MaxPool3d_3a_3x3", x, (1, 3, 3), (1, 2, 2))
        for name, layer in LAYERS.items():
            if isinstance(layer, tuple):
                x = self._pooled(name, x, *layer)
            else:
                x = self._tapped(name, _Mixed(tuple(layer), self.epsilon, name=name)(x))
        x = (x[:, :-1] + x[:, 1:]).mean((2, 3)) / 2  # the mean over a window of 2 x 7 x 7
        kernel = self.param("logits.kernel", nn.initializers.lecun_normal(), (x.shape[-1], CLASSES))
        bias = self.param("logits.bias", nn.initializers.zeros, (CLASSES,))
        return (jnp.dot(x, kernel, precision="highest") + bias).mean(1)

    def _unit(self, name: str, features: int, side: int, stride: int, x: jax.Array) -> Unit:
        pads = self._pads(x, (side,) * 3, (stride,) * 3)
        return Unit(features, (side,) * 3, (stride,) * 3, pads, self.epsilon, name=name)

    def _pooled(self, name: str, x: jax.Array, window: tuple[int, int, int], strides: tuple[int, int, int]) -> jax.Array:
        return self._tapped(name, maxima(x, window, strides, self._pads(x, window, strides)))

    def _pads(self, x: jax.Array, window: tuple[int, ...], strides: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        sizes = list(x.shape[1:4])
        if self.temporal_padding == "static":
            sizes[0] = strides[0]
        return tuple(_same(*axis) for axis in zip(sizes, window, strides, strict=True))

    def _tapped(self, name: str, x: jax.Array) -> jax.Array:
        self.sow("taps", f"after_{name}", x)
        return x


class _Mixed(nn.Module):
    features: tuple[int, ...]
    epsilon: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        names = ("b0", "b1a", "b1b", "b2a", "b2b", "b3b")

        def unit(name: str, side: int) -> Unit:
            features = self.features[names.index(name)]
            return Unit(features, (side,) * 3, (1, 1, 1), ((side // 2,) * 2,) * 3, self.epsilon, name=name)

        largest = maxima(x, (3, 3, 3), (1, 1, 1), ((1, 1),) * 3)
        branches = [
            unit("b0", 1)(x),
            unit("b1b", 3)(unit("b1a", 1)(x)),
            unit("b2b", 3)(unit("b2a", 1)(x)),
            unit("b3b", 1)(largest),
        ]
        return jnp.concatenate(branches, axis=-1)


def _same(size: int, side: int, stride: int) -> tuple[int, int]:
    """TensorFlow's padding: as many outputs as strides fit in, the odd zero at the end."""
    total = max((-(-size // stride) - 1) * stride + side - size, 0)
    return total // 2, total - total // 2


def _check(video: jax.Array) -> None:
    _, t, h, w, _ = video.shape
    if t < LEAST_FRAMES:
        raise ValueError(f"FVD's network needs clips of at least {LEAST_FRAMES} frames, and these have {t}")
    if not (SIDE - 31 <= h <= SIDE and SIDE - 31 <= w <= SIDE):
        raise ValueError(f"FVD's network takes frames of {SIDE} x {SIDE} pixels, not {h} x {w}")
