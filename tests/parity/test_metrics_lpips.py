"""LPIPS of both networks against its authors' code in float64, the contribution of each layer and tiny activations included."""

import jax
import numpy as np
import pytest
from metrics_weights import cases, relative, state_dict

from tokjax.losses.features import NETWORKS, activations
from tokjax.losses.perceptual import SCALE, SHIFT, lpips

FILES = {"vgg16": "lpips_vgg", "alexnet": "lpips_alex"}


def ours(state, network):
    """The state dict as our variables."""
    variables = {}
    for layer in NETWORKS[network]:
        weight, bias = (state[f"features.{layer.index}.{leaf}"] for leaf in ("weight", "bias"))
        variables[layer.name] = {"kernel": weight.transpose(2, 3, 1, 0), "bias": bias}
    heads = sorted(name for name in state if name.startswith("lin"))
    return variables | {f"head_{i}": {"kernel": state[name].reshape(-1)} for i, name in enumerate(heads)}


def last(array):
    return np.moveaxis(array, 1, -1)


@pytest.mark.parametrize("case", ["a", "b", "c"])
@pytest.mark.parametrize("network", FILES)
def test_distances_and_gradients(golden, network, case):
    data = np.load(golden(f"metrics/{FILES[network]}.npz"))
    variables = ours(state_dict(data), network)

    @jax.jit
    def judged(variables, x, y):
        pull, values = jax.grad(lambda y: (lambda each: (each.mean(), each))(lpips(variables, x, y, network)), has_aux=True)(y)
        return values, pull

    assert case in cases(data)
    values, pull = judged(variables, last(data[f"{case}_x"]), last(data[f"{case}_y"]))
    np.testing.assert_allclose(values, data[f"{case}_dist64"].reshape(-1), rtol=2e-6)
    assert relative(np.moveaxis(np.asarray(pull), -1, 1), data[f"{case}_grad_y64"]) < 1e-2


@pytest.mark.parametrize("network", FILES)
def test_tiny_activations_and_taps(golden, network):
    """The published 1e-10 is added to the length, where any other place of it would show."""
    data = np.load(golden(f"metrics/{FILES[network]}.npz"))
    state = state_dict(data)
    case = cases(data)[0]
    x, y = last(data[f"{case}_x"]), last(data[f"{case}_y"])
    taps = activations(ours(state, network), (x - np.array(SHIFT, np.float32)) / np.array(SCALE, np.float32), network)
    means = [float(np.abs(np.asarray(tap, np.float64)).mean()) for tap in taps]
    np.testing.assert_allclose(means, data[f"{case}_tap_mean_abs64"].reshape(-1), rtol=1e-5)
    tiny = {name: np.zeros_like(value) if name.endswith(".bias") else value for name, value in state.items()}
    tiny["features.0.weight"] = tiny["features.0.weight"] * np.float32(1e-6)
    np.testing.assert_allclose(lpips(ours(tiny, network), x, y, network), data["tiny_dist64"].reshape(-1), rtol=5e-6)
