"""Discriminators with published names: there and back bit for bit, told apart by their tensors, and ready to train on."""

import jax
import numpy as np
import pytest
from random_discriminators import USUAL, published_discriminator

from tokjax.conversion.checkpoint_files import CheckpointError, write_state
from tokjax.conversion.discriminators import from_torch
from tokjax.conversion.kept_discriminators import read_kept

CONFIGS = [
    {"kind": "vidtok_2d"},
    {"kind": "vidtok_2d", "layers": 2, "width": 8},
    {"kind": "vidtok_3d"},
    {"kind": "omni_image"},
    {"kind": "omni_image", "norm": "group", "width": 32},
    {"kind": "omni_video", "layers": 4, "width": 2},
    {"kind": "omni", "noise": True},
]
VIDTOK_3D = {  # as the original's state dict lists them
    "main.0.weight": (4, 3, 3, 3, 3),
    "main.0.bias": (4,),
    "main.2.weight": (8, 4, 3, 3, 3),
    "main.5.weight": (16, 8, 3, 3, 3),
    "main.8.weight": (32, 16, 3, 3, 3),
    "main.11.weight": (1, 32, 3, 3, 3),
    "main.11.bias": (1,),
}
VIDTOK_3D |= {
    f"main.{layer}.{leaf}": (width,)
    for layer, width in ((3, 8), (6, 16), (9, 32))
    for leaf in ("weight", "bias", "running_mean", "running_var")
}
VIDTOK_3D |= {f"main.{layer}.num_batches_tracked": () for layer in (3, 6, 9)}


@pytest.mark.parametrize("changes", CONFIGS, ids=lambda changes: "-".join(str(value) for value in changes.values()))
def test_there_and_back_is_bitwise(tmp_path, changes):
    config = USUAL | changes
    module, variables, state = published_discriminator(**config)
    again = from_torch(state, module)
    assert jax.tree.structure(again) == jax.tree.structure(variables)
    assert jax.tree.all(jax.tree.map(np.array_equal, again, variables))
    write_state(tmp_path / "kept.safetensors", state | {"loss.perceptual_loss.lin0.model.1.weight": np.ones(3, np.float32)})
    kept = read_kept(tmp_path / "kept.safetensors")
    assert kept.config == config and kept.log_variance is None
    assert jax.tree.all(jax.tree.map(np.array_equal, kept.variables, variables))


def test_published_names_and_shapes():
    _, variables, state = published_discriminator("vidtok_3d")
    assert {name.removeprefix("loss.discriminator."): value.shape for name, value in state.items()} == VIDTOK_3D
    kernel = variables["params"]["video"]["conv_1"]["kernel"]  # [time, height, width, in, out]
    assert state["loss.discriminator.main.2.weight"][5, 3, 0, 1, 2] == kernel[0, 1, 2, 3, 5]


def test_the_log_variance_comes_with_it(tmp_path):
    _, _, state = published_discriminator("vidtok_2d")
    write_state(tmp_path / "kept.safetensors", state | {"loss.logvar": np.array(0.25, np.float32)})
    assert read_kept(tmp_path / "kept.safetensors").log_variance == 0.25


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("main.3.weight", None, "lacks the tensor loss.discriminator.main.3.weight"),
        ("main.5.weight", (16, 4, 4, 4), "the tensor loss.discriminator.main.5.weight has shape (16, 4, 4, 4), but this"),
        ("main.1.weight", (3,), "1 tensors too many for this discriminator, the first is loss.discriminator.main.1.weight"),
        ("main.0.weight", None, "it has none of the tensors loss.discriminator.main.0.weight, "),
    ],
)
def test_what_is_no_discriminator(tmp_path, name, shape, message):
    _, _, state = published_discriminator("vidtok_2d")
    state.pop(f"loss.discriminator.{name}", None)
    if shape:
        state[f"loss.discriminator.{name}"] = np.zeros(shape, np.float32)
    write_state(tmp_path / "kept.safetensors", state)
    with pytest.raises(CheckpointError) as error:
        read_kept(tmp_path / "kept.safetensors")
    assert "kept.safetensors holds no discriminator that could be trained further: " in str(error.value)
    assert message in str(error.value)
