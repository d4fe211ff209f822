"""The feature stacks, layer for layer, against torchvision's layouts built anew with PyTorch."""

import contextlib

import jax
import numpy as np
import pytest
from random_perceptual import random_layers

from tokjax.losses.features import NETWORKS, activations, smallest_side, tap_channels


def alexnet(nn):
    """torchvision.models.alexnet().features."""
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
    )


def vgg16(nn):
    """torchvision.models.vgg16().features."""
    layers, inputs = [], 3
    for width in [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]:
        if width == "M":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("network", "build", "taps", "side"),
    [("alexnet", alexnet, (1, 4, 7, 9, 11), 67), ("vgg16", vgg16, (3, 8, 15, 22, 29), 32)],
)
def test_against_pytorch(network, build, taps, side):
    """Taps are the ReLUs that LPIPS compares, by their place in torchvision's list."""
    torch = pytest.importorskip("torch", reason="builds the networks anew with PyTorch")
    weights, stack = random_layers(network), build(torch.nn)
    images = np.random.default_rng(1).normal(size=(2, side, side + 5, 3)).astype(np.float32)
    ours = jax.jit(activations, static_argnums=2)(weights, images, network)
    x, place = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), 0
    with torch.no_grad():
        for layer in NETWORKS[network]:
            kernel = weights[layer.name]["kernel"].transpose(3, 2, 0, 1).copy()
            stack[layer.index].weight.copy_(torch.from_numpy(kernel))
            stack[layer.index].bias.copy_(torch.from_numpy(weights[layer.name]["bias"]))
        for number, layer in enumerate(stack):
            x = layer(x)
            if number in taps:
                np.testing.assert_allclose(ours[place], x.numpy().transpose(0, 2, 3, 1), atol=2e-4, rtol=1e-4)
                place += 1
    assert place == len(ours) == 5


@pytest.mark.parametrize(
    ("network", "channels", "parameters"),
    [("vgg16", (64, 128, 256, 512, 512), 14_714_688), ("alexnet", (64, 192, 384, 256, 256), 2_469_696)],
)
def test_sizes(network, channels, parameters):
    """Channels of the taps, and the published numbers of parameters of the convolutions."""
    assert tap_channels(network) == channels
    assert sum(np.prod(layer.shape) + layer.features for layer in NETWORKS[network]) == parameters


@pytest.mark.parametrize("network", NETWORKS)
def test_the_smallest_image(network):
    """One pixel less, and the last activation is empty."""
    weights = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), random_layers(network))

    def last(side):
        images = jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
        return jax.eval_shape(lambda w, i: activations(w, i, network), weights, images)[-1].shape

    side = smallest_side(network)
    assert min(last(side)) == 1
    with contextlib.suppress(ValueError, TypeError):  # or refused outright
        assert 0 in last(side - 1)
