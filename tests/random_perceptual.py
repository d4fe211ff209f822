"""Perceptual networks of random weights, for tests: ours, and as the published files name them."""

import numpy as np

from tokjax.losses.features import NETWORKS, tap_channels


def random_layers(network, seed=0):
    """The convolutions; activations keep their size from layer to layer."""
    rng, weights = np.random.default_rng(seed), {}
    for layer in NETWORKS[network]:
        spread = (2 / np.prod(layer.shape[:3])) ** 0.5
        kernel = (rng.standard_normal(layer.shape, np.float32) * spread).astype(np.float32)
        weights[layer.name] = {"kernel": kernel, "bias": rng.normal(0, 0.1, layer.features).astype(np.float32)}
    return weights


def random_perceptual(network, seed=0):
    """The convolutions and the heads."""
    rng = np.random.default_rng(seed + 1)
    heads = [np.abs(rng.normal(size=channels)).astype(np.float32) for channels in tap_channels(network)]
    return random_layers(network, seed) | {f"head_{tap}": {"kernel": head} for tap, head in enumerate(heads)}


def torchvision_state(variables, network):
    """The state dict of torchvision's file: `features` and something of the classifier, which is not read."""
    state = {"classifier.6.bias": np.zeros(1000, np.float32)}
    for layer in NETWORKS[network]:
        kernel = variables[layer.name]["kernel"].transpose(3, 2, 0, 1)
        state |= {f"features.{layer.index}.weight": kernel, f"features.{layer.index}.bias": variables[layer.name]["bias"]}
    return state


def heads_state(variables, network):
    """The state dict of vgg.pth or alex.pth."""
    heads = [variables[f"head_{tap}"]["kernel"] for tap in range(len(tap_channels(network)))]
    return {f"lin{tap}.model.1.weight": head.reshape(1, -1, 1, 1) for tap, head in enumerate(heads)}
