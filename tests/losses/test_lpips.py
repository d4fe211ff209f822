"""LPIPS against its definition in NumPy, its gradient where nothing is active, and the file that its weights come from."""

import json
import re

import jax
import numpy as np
import pytest
from random_perceptual import random_perceptual

from tokjax.losses.features import activations
from tokjax.losses.perceptual import SCALE, SHIFT, load_perceptual, lpips
from tokjax.losses.weight_files import PerceptualError, about_weights, save_weights, weights_digest

SIDE = 35
RNG = np.random.default_rng(3)
A, B = RNG.uniform(-1, 1, (2, 2, SIDE, SIDE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def weights():
    return random_perceptual("alexnet")


distances = jax.jit(lpips, static_argnums=3)


def test_against_the_definition(weights):
    stacks = [activations(weights, (images - np.array(SHIFT)) / np.array(SCALE), "alexnet") for images in (A, B)]
    expected = np.zeros(2)
    for tap, pair in enumerate(zip(*stacks, strict=True)):
        a, b = (np.asarray(x, np.float64) for x in pair)
        a, b = (x / (np.sqrt((x**2).sum(-1, keepdims=True)) + 1e-10) for x in (a, b))
        expected += (((a - b) ** 2) * weights[f"head_{tap}"]["kernel"]).sum(-1).mean((1, 2))
    np.testing.assert_allclose(distances(weights, A, B, "alexnet"), expected, rtol=1e-5)


def test_a_distance(weights):
    """0 of an image to itself, the same both ways, positive."""
    np.testing.assert_array_equal(distances(weights, A, A, "alexnet"), 0)
    np.testing.assert_allclose(distances(weights, A, B, "alexnet"), distances(weights, B, A, "alexnet"), rtol=1e-5)
    assert np.all(np.asarray(distances(weights, A, B, "alexnet")) > 0)


def test_the_gradient_is_finite_where_nothing_is_active(weights):
    """A network that is silent for one image: its unit vectors are 0 and so is the gradient, which without care is NaN."""
    silent = dict(weights)
    for layer in ("conv_0", "conv_3", "conv_6", "conv_8", "conv_10"):
        silent[layer] = {"kernel": weights[layer]["kernel"], "bias": np.full_like(weights[layer]["bias"], -1e6)}
    slope = jax.jit(jax.grad(lambda y, weights, x: lpips(weights, x, y, "alexnet").sum()))
    np.testing.assert_array_equal(slope(B, silent, A), 0)
    np.testing.assert_allclose(slope(A, weights, A), 0, atol=1e-6)  # equal images
    usual = np.asarray(slope(B, weights, A))
    assert np.all(np.isfinite(usual)) and np.abs(usual).max() > 1e-4


def test_there_and_back(tmp_path, weights):
    about = save_weights(tmp_path / "w.npz", weights, "alexnet", {"alexnet.pth": "12ab"}, ["a doubt"])
    assert about_weights(tmp_path / "w.npz") == about
    assert about["sources"] == {"alexnet.pth": "12ab"} and about["notes"] == ["a doubt"]
    loaded = load_perceptual(tmp_path / "w.npz", "alexnet")
    assert jax.tree.all(jax.tree.map(np.array_equal, loaded, weights))
    changed = weights | {"head_0": {"kernel": weights["head_0"]["kernel"] + 1e-6}}
    assert weights_digest(loaded) == about["digest"] != weights_digest(changed)


def refused(path, network="vgg16"):
    with pytest.raises(PerceptualError) as error:
        load_perceptual(path, network)
    message = str(error.value)
    assert "\n" not in message and f"`tokjax convert perceptual --{network} " in message
    return message


def test_files_that_do_not_fit(tmp_path, weights):
    path = tmp_path / "w.npz"
    assert f"there is no file of weights {path}" in refused(path)
    save_weights(path, weights, "alexnet", {})
    assert "holds the network alexnet, not vgg16" in refused(path)
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for damaged in (content[: len(content) // 2], b"", b"<html>", bytes(flipped)):
        path.write_bytes(damaged)
        assert re.search("w.npz is no file that `tokjax convert perceptual` wrote, or a damaged one", refused(path))
    np.save(tmp_path / "array.npy", np.zeros(3))
    assert "array.npy is no file that `tokjax convert perceptual` wrote" in refused(tmp_path / "array.npy")
    save_weights(path, {"conv_0": weights["conv_0"]}, "vgg16", {})
    assert "does not hold the weights of vgg16" in refused(path)


def test_a_changed_weight_is_noticed(tmp_path, weights):
    about = {"network": "alexnet", "digest": "0" * 64}
    flat = {f"{layer}/{name}": value for layer, values in weights.items() for name, value in values.items()}
    np.savez(tmp_path / "w.npz", about=np.array(json.dumps(about)), **flat)
    assert "is damaged: its weights are not those that were written" in refused(tmp_path / "w.npz", "alexnet")
