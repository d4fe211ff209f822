"""Inception-v3 as FID and the Inception Score know it: the port of the graph of 2015-12-05 (Szegedy et al., arXiv 1512.00567).

It differs from the network of that name elsewhere: averages leave padding out, the last block takes maxima where the others
average (a slip of the original graph, kept since all published numbers have it), 1008 classes, epsilon 1e-3. Layers bear the
names of the published state dict.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from tokjax.evaluation.inception_layers import Unit, averages, maxima

SIDE = 299  # pixels that images are resized to
CLASSES = 1008
EPSILON = 1e-3

# A block is its branches, whose outputs are put side by side. A branch is a list of steps: (name, features, kernel) with zeros
# around so that sides stay, (name, features, kernel, 2) that halves sides without, a list of steps side by side, or a pooling.
Step = tuple | list | str


def _block_a(pool: int) -> list[list[Step]]:
    return [
        [("branch1x1", 64, 1)],
        [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)],
        [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
        ["average", ("branch_pool", pool, 1)],
    ]


def _block_c(width: int) -> list[list[Step]]:
    row, column = (1, 7), (7, 1)
    seven = [("branch7x7_1", width, 1), ("branch7x7_2", width, row), ("branch7x7_3", 192, column)]
    doubled = [("branch7x7dbl_1", width, 1), ("branch7x7dbl_2", width, column), ("branch7x7dbl_3", width, row)]
    doubled += [("branch7x7dbl_4", width, column), ("branch7x7dbl_5", 192, row)]
    return [[("branch1x1", 192, 1)], seven, doubled, ["average", ("branch_pool", 192, 1)]]


def _block_e(pool: str) -> list[list[Step]]:
    split = [("branch3x3_2a", 384, (1, 3)), ("branch3x3_2b", 384, (3, 1))]
    doubled = [("branch3x3dbl_3a", 384, (1, 3)), ("branch3x3dbl_3b", 384, (3, 1))]
    return [
        [("branch1x1", 320, 1)],
        [("branch3x3_1", 384, 1), split],
        [("branch3x3dbl_1", 448, 1), ("branch3x3dbl_2", 384, 3), doubled],
        [pool, ("branch_pool", 192, 1)],
    ]


BLOCKS: dict[str, list[list[Step]]] = {
    "Mixed_5b": _block_a(32),
    "Mixed_5c": _block_a(64),
    "Mixed_5d": _block_a(64),
    "Mixed_6a": [
        [("branch3x3", 384, 3, 2)],
        [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3, 2)],
        ["halve"],
    ],
    **{f"Mixed_6{letter}": _block_c(width) for letter, width in zip("bcde", (128, 160, 160, 192), strict=True)},
    "Mixed_7a": [
        [("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3, 2)],
        [
            ("branch7x7x3_1", 192, 1),
            ("branch7x7x3_2", 192, (1, 7)),
            ("branch7x7x3_3", 192, (7, 1)),
            ("branch7x7x3_4", 192, 3, 2),
        ],
        ["halve"],
    ],
    "Mixed_7b": _block_e("average"),
    "Mixed_7c": _block_e("maximum"),
}
TAPS = {"Mixed_6e": "768"}


class Inception(nn.Module):
    """Call with float32 images [n,299,299,3] in -1..1.

    Returns:
      (features [n,2048], which FID compares; logits [n,1008] without the bias, which the Inception Score takes). With
      mutable=["taps"] the means over positions of the layers with 64, 192 and 768 channels are kept too.
    """

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = images[:, None]
        x = _unit("Conv2d_1a_3x3", 32, 3, 2)(x)
        x = _unit("Conv2d_2a_3x3", 32, 3, 1, pad=False)(x)
        x = _halved(_unit("Conv2d_2b_3x3", 64, 3)(x))
        self.sow("taps", "64", x.mean((1, 2, 3)))
        x = _unit("Conv2d_3b_1x1", 80, 1)(x)
        x = _halved(_unit("Conv2d_4a_3x3", 192, 3, 1, pad=False)(x))
        self.sow("taps", "192", x.mean((1, 2, 3)))
        for name in BLOCKS:
            x = _Block(name, name=name)(x)
            if name in TAPS:
                self.sow("taps", TAPS[name], x.mean((1, 2, 3)))
        features = x.mean((1, 2, 3))
        kernel = self.param("fc.kernel", nn.initializers.lecun_normal(), (2048, CLASSES))
        self.param("fc.bias", nn.initializers.zeros, (CLASSES,))  # of the published file; the score leaves it out
        return features, jnp.dot(features, kernel, precision="highest")


class _Block(nn.Module):
    block: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        outputs = []
        for steps in BLOCKS[self.block]:
            y = x
            for step in steps:
                y = _taken(step, y)
            outputs.append(y)
        return jnp.concatenate(outputs, axis=-1)


def _taken(step: Step, x: jax.Array) -> jax.Array:
    if isinstance(step, list):
        return jnp.concatenate([_taken(one, x) for one in step], axis=-1)
    if step == "average":
        return averages(x)
    if step == "maximum":
        return maxima(x, (1, 3, 3), (1, 1, 1), ((0, 0), (1, 1), (1, 1)))
    return _halved(x) if step == "halve" else _unit(*step)(x)


def _halved(x: jax.Array) -> jax.Array:
    return maxima(x, (1, 3, 3), (1, 2, 2), ((0, 0),) * 3)


def _unit(name: str, features: int, kernel: int | tuple[int, int], stride: int = 1, pad: bool = True) -> Unit:
    """Padded so that sides stay, unless it has a stride."""
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    pads = [(side // 2,) * 2 if pad and stride == 1 else (0, 0) for side in sides]
    return Unit(features, (1, *sides), (1, stride, stride), ((0, 0), *pads), EPSILON, name=name)
