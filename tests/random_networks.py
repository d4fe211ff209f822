"""Files of weights for tests: networks of random weights, as the converter writes them."""

import numpy as np

from tokjax.conversion.judging_networks import convert_network
from tokjax.evaluation.networks import shapes_of

_BN = {"scale": "bn.weight", "bias": "bn.bias", "mean": "bn.running_mean", "variance": "bn.running_var"}


def published_state(network, seed=0):
    """A state dict as pytorch-fid's file ("inception") or VideoGPT's ("i3d") names it; features keep their size."""
    rng, state = np.random.default_rng(seed), {}
    named = ((layer, leaf, shape) for layer, leaves in shapes_of(network).items() for leaf, shape in leaves.items())
    for layer, leaf, shape in named:
        plain = layer in ("fc", "logits")
        convolution = {"inception": "conv", "i3d": "conv3d"}[network]
        if leaf == "kernel":
            value = rng.standard_normal(shape, np.float32) * np.float32((2 / np.prod(shape[:-1])) ** 0.5)
            value = np.moveaxis(value, (-1, -2), (0, 1))
            if network == "inception" and not plain:
                value = value[:, :, 0]
            elif network == "i3d" and plain:
                value = value[..., None, None, None]
            name = f"{layer}.{convolution}.weight" if not (plain and network == "inception") else "fc.weight"
        else:
            value = np.full(shape, {"scale": 1.0, "variance": 1.0}.get(leaf, 0.0), np.float32)
            value += rng.normal(0, 0.02, shape).astype(np.float32)
            name = f"{layer}.{_BN[leaf]}"
            if plain:
                name = "fc.bias" if network == "inception" else "logits.conv3d.bias"
        state[name] = np.ascontiguousarray(value)
    return state


def write_network(network, folder, seed=0):
    """The file that evaluation reads."""
    np.savez(folder / f"{network}_source.npz", **published_state(network, seed))
    convert_network(network, folder / f"{network}_source.npz", folder / f"{network}.npz")
    return folder / f"{network}.npz"
