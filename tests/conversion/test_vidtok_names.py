"""Published names and shapes: samples written out by hand, round trip, and tensors that do not fit are named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_tokenizer import tiny_config, tiny_tokenizer

from tokjax.conversion.vidtok import from_torch, to_torch, torch_name
from tokjax.models.tokenizer import build

NAMES = {
    "encoder/conv_in/kernel": "encoder.conv_in.conv.weight",
    "encoder/level_0/block_1/conv2/bias": "encoder.down.0.block.1.conv2.bias",
    "encoder/level_0/block_0/norm1/scale": "encoder.down.0.block.0.norm1.norm.weight",
    "encoder/level_1/block_0/nin_shortcut/kernel": "encoder.down.1.block.0.nin_shortcut.weight",
    "encoder/level_2/downsample/conv/kernel": "encoder.down.2.downsample.conv.weight",
    "encoder/level_2/temporal_block_1/conv1/kernel": "encoder.down_temporal.2.block.1.conv1.conv.weight",
    "encoder/level_2/temporal_downsample/mix_factor": "encoder.down_temporal.2.downsample.mix_factor",
    "encoder/level_2/temporal_downsample/conv/bias": "encoder.down_temporal.2.downsample.conv.conv.bias",
    "encoder/mid/attn_1/q/kernel": "encoder.mid.attn_1.q.conv.weight",
    "encoder/mid/attn_1/norm/bias": "encoder.mid.attn_1.norm.norm.bias",
    "decoder/level_3/upsample/conv/bias": "decoder.up.3.upsample.conv.bias",
    "decoder/level_1/temporal_upsample/conv/kernel": "decoder.up_temporal.1.upsample.conv.conv.weight",
    "decoder/norm_out/scale": "decoder.norm_out.norm.weight",
    "decoder/conv_out/bias": "decoder.conv_out.conv.bias",
}


@pytest.mark.parametrize(("ours", "published"), NAMES.items())
def test_names_as_published(ours, published):
    assert torch_name(tuple(ours.split("/"))) == published


def test_groupnorm_has_no_wrapper():
    assert torch_name(("decoder", "norm_out", "scale"), "groupnorm") == "decoder.norm_out.weight"


@pytest.fixture
def template():
    model = build(tiny_config().model)
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1, 2, 2, 3)))["params"]


@pytest.fixture
def state():
    return to_torch(tiny_tokenizer().variables["params"])


def test_kernels_have_the_published_layout(state):
    params = tiny_tokenizer().variables["params"]
    frame = state["encoder.down.0.block.0.conv1.weight"]
    time = state["encoder.down_temporal.0.block.0.conv1.conv.weight"]
    assert (frame.shape, time.shape, state["encoder.conv_in.conv.weight"].shape) == ((4, 4, 3, 3), (4, 4, 3), (4, 3, 3, 3, 3))
    block = params["encoder"]["level_0"]
    assert frame[1, 2, 0, 2] == block["block_0"]["conv1"]["kernel"][0, 0, 2, 2, 1]
    assert time[1, 2, 0] == block["temporal_block_0"]["conv1"]["kernel"][0, 0, 0, 2, 1]


def test_there_and_back_is_bitwise_and_losses_are_left_out(state, template):
    state["loss.discriminator.main.0.weight"] = np.zeros(3)
    back = from_torch(state, template)
    jax.tree.map(np.testing.assert_array_equal, back, tiny_tokenizer().variables["params"])
    assert len(state) == 1 + len(jax.tree.leaves(template))


def test_a_missing_tensor_is_named(state, template):
    del state["decoder.mid.block_1.conv1.conv.bias"]
    with pytest.raises(ValueError, match=r"lacks the tensor decoder.mid.block_1.conv1.conv.bias, which this model needs"):
        from_torch(state, template)


def test_tensors_that_are_left_over_are_counted_and_named(state, template):
    state |= {"encoder.zzz": np.zeros(2), "encoder.quant.weight": np.zeros(2)}
    with pytest.raises(ValueError, match=r"has 2 tensors that this model does not know, the first is encoder.quant.weight"):
        from_torch(state, template)


@pytest.mark.parametrize("wrong", [(4, 3, 3, 3, 1), (3, 4, 3, 3, 3), (324,), (8, 3, 3, 3, 3)])
def test_a_tensor_of_another_shape_is_named_even_when_it_has_as_many_values(state, template, wrong):
    state["encoder.conv_in.conv.weight"] = np.zeros(wrong, np.float32)
    message = rf"the tensor encoder.conv_in.conv.weight has shape \({wrong[0]},.*but this model needs \(4, 3, 3, 3, 3\)"
    with pytest.raises(ValueError, match=message):
        from_torch(state, template)
