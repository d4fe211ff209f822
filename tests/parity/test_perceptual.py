"""LPIPS against the originals' values, gradients and activations, with VGG16 of seeded weights."""

from pathlib import Path

import jax
import numpy as np
import omni_weights
import torch_weights

from tokjax.conversion.checkpoint_files import write_state
from tokjax.conversion.perceptual import convert_from_checkpoint
from tokjax.losses.features import activations
from tokjax.losses.perceptual import SCALE, SHIFT, load_perceptual, lpips


def converted(state, place):
    """The weights as a user gets them: of a released checkpoint that holds them."""
    write_state(place / "released.safetensors", {f"loss.perceptual_loss.{name}": value for name, value in state.items()})
    convert_from_checkpoint(place / "released.safetensors", place / "lpips.npz")
    return load_perceptual(place / "lpips.npz")


def channels_last(array):
    return np.moveaxis(array, 1, -1)


@jax.jit
def judged(variables, a, b):
    """(distances, their mean's gradient with respect to b, VGG's activations of a)."""
    pull, values = jax.grad(lambda b: (lambda each: (each.mean(), each))(lpips(variables, a, b)), has_aux=True)(b)
    return values, pull, activations(variables, (a - np.array(SHIFT)) / np.array(SCALE), "vgg16")


def close_gradient(ours, theirs):
    """ReLU and max-pooling have kinks that rounding may cross: nearly all entries agree, and the whole does."""
    ours = np.moveaxis(np.asarray(ours), -1, 1)
    assert np.linalg.norm(ours - theirs) < 2e-2 * np.linalg.norm(theirs)
    assert np.mean(np.abs(ours - theirs) > 1e-3 * np.abs(theirs).max()) < 1e-3


def test_vidtok(golden, tmp_path: Path):
    arrays, meta = torch_weights.read_golden(golden("vidtok/unit_lpips.npz"))
    variables = converted(torch_weights.state_dict(meta, arrays), tmp_path)
    values, pull, taps = judged(variables, channels_last(arrays["in:a"]), channels_last(arrays["in:b"]))
    np.testing.assert_allclose(values, arrays["out:val"].reshape(-1), rtol=1e-4)
    close_gradient(pull, arrays["out:d_b"])
    for number, tap in enumerate(taps):
        flat = np.moveaxis(np.asarray(tap), -1, 1).reshape(-1)
        sample = flat[:: max(1, flat.size // 64)][:64]
        np.testing.assert_allclose(sample, arrays[f"out:feat{number}_sample"], atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(flat.mean(), arrays[f"out:feat{number}_stats"][0], rtol=1e-4)
    np.testing.assert_allclose(meta_constants(arrays), (SHIFT, SCALE), rtol=1e-6)


def meta_constants(arrays):
    return [arrays[f"const:scaling_layer.{name}"].reshape(-1) for name in ("shift", "scale")]


def test_omnitokenizer(golden, tmp_path: Path):
    arrays, meta = omni_weights.read_golden(golden("omnitokenizer/lpips_64.npz"))
    theirs = omni_weights.outputs(arrays)
    variables = converted(omni_weights.state_dict(arrays, meta), tmp_path)
    values, pull, taps = judged(variables, channels_last(arrays["in/a"]), channels_last(arrays["in/b"]))
    np.testing.assert_allclose(values, theirs["value"].reshape(-1), rtol=1e-4)
    close_gradient(pull, theirs["d_b"])
    np.testing.assert_allclose(np.moveaxis(np.asarray(taps[4]), -1, 1), theirs["vgg4"], atol=1e-4, rtol=1e-4)
