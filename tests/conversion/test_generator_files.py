"""Published checkpoints of models of tokens: in, out, and what does not fit."""

import jax
import numpy as np
import pytest
from handmade_checkpoints import stored, table, tensor, zipped
from ml_collections import ConfigDict
from tiny_generators import config_of, model_of

from tokjax.conversion.checkpoint_files import read_checkpoint, write_state
from tokjax.conversion.generator_files import convert_generator, to_torch_file
from tokjax.conversion.generators import to_torch
from tokjax.errors import ConfigError
from tokjax.generation.package import load_generator

PUBLISHED = {"mode": "published", "block": "published", "classes": 3, "start_token": True}
KINDS = {"language_model": PUBLISHED, "diffusion": {"classes": 3}}


@pytest.fixture(params=KINDS)
def case(request):
    """(family, config, its model's variables, the published state dict)."""
    changes = KINDS[request.param]
    module, variables = model_of(request.param, **changes)
    return request.param, config_of(request.param, **changes), variables, to_torch(variables["params"], module)


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_in_and_out_again(case, tmp_path):
    family, config, variables, state = case
    if family == "language_model":
        buffers = {"transformer.blocks.0.attn.mask": np.ones((1, 1, 5, 5), np.float32)}
        state_in = state | buffers | {"first_stage_model.codebook.N": np.ones(3, np.float32)}
    else:
        state_in = state
    write_state(tmp_path / "in.safetensors", state_in)
    model = convert_generator(tmp_path / "in.safetensors", tmp_path / "model", config)
    same(model.variables["params"], variables["params"])
    loaded = load_generator(tmp_path / "model")
    same(loaded.variables["params"], variables["params"])
    assert loaded.tokenizer == "" and loaded.config.model == config.model
    assert to_torch_file(tmp_path / "model", tmp_path / "out.safetensors") == len(state)
    again = read_checkpoint(tmp_path / "out.safetensors").tensors
    assert again.keys() == state.keys()
    same(again, state)


def test_the_moving_average_is_taken(tmp_path):
    module, variables = model_of("diffusion", classes=3)
    pickled, storages = stored(to_torch(variables["params"], module))
    other = table({"x_embedder.proj.bias": tensor("Float", "other", 1, 0, (1,), (1,))})
    (tmp_path / "dit.pt").write_bytes(zipped(table({"model": other, "ema": pickled}), storages | {"other": bytes(4)}))
    model = convert_generator(tmp_path / "dit.pt", tmp_path / "model", config_of("diffusion", classes=3))
    same(model.variables["params"], variables["params"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state, name: state.pop(name), "the checkpoint lacks"),
        (lambda state, name: state.update({"more.weight": np.ones(2, np.float32)}), "has more.weight, which this model does"),
        (lambda state, name: state.update({name: np.ones((7, 2), np.float32)}), r"is \(7, 2\) in the checkpoint, but \("),
    ],
)
def test_what_does_not_fit(case, tmp_path, change, message):
    family, config, _, state = case
    name = "transformer.head.weight" if family == "language_model" else "final_layer.linear.weight"
    change(state, name)
    write_state(tmp_path / "in.safetensors", state)
    with pytest.raises(ValueError, match=message):
        convert_generator(tmp_path / "in.safetensors", tmp_path / "model", config)
    assert not (tmp_path / "model").exists()


def test_other_tables_of_places(tmp_path):
    module, variables = model_of("diffusion")
    state = to_torch(variables["params"], module)
    write_state(tmp_path / "in.safetensors", state | {"temp_embed": state["temp_embed"] + np.float32(0.01)})
    with pytest.raises(ValueError, match="temp_embed is not the table of sines and cosines"):
        convert_generator(tmp_path / "in.safetensors", tmp_path / "model", config_of("diffusion"))


def test_models_that_the_originals_cannot_hold(tmp_path):
    for family, changes in (("language_model", {}), ("diffusion", {"scaling": 0.0})):
        with pytest.raises(ConfigError, match=f"the original {family} is one with"):
            convert_generator(tmp_path / "in.safetensors", tmp_path / "model", ConfigDict(config_of(family, **changes)))
