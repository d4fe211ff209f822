"""Names of the non-causal family and of the ablations, and their round trip."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tokjax.config import defaults
from tokjax.conversion.vidtok import from_torch, to_torch, torch_name
from tokjax.models.tokenizer import build

NONCAUSAL = {
    "encoder/conv_in/kernel": "encoder.conv_in.weight",
    "encoder/level_0/block_1/conv2/bias": "encoder.down.0.block.1.conv2.bias",
    "encoder/level_2/temporal_block_1/conv1/kernel": "encoder.down_temporal.2.block.1.conv1.weight",
    "encoder/level_2/temporal_downsample/conv/bias": "encoder.down_temporal.2.downsample.conv.bias",
    "encoder/mid/attn_1/q/kernel": "encoder.mid.attn_1.q.weight",
    "encoder/mid/attn_1/norm/bias": "encoder.mid.attn_1.norm.norm.bias",
    "decoder/level_1/temporal_upsample/mix_factor": "decoder.up_temporal.1.upsample.mix_factor",
    "decoder/norm_out/scale": "decoder.norm_out.norm.weight",
}
# In the places of the published modules, as the 3-D convolutions of the causal family are named, with the wrapper's `.conv`.
ABLATIONS = {
    "full_3d": {
        "encoder/level_0/joint_block_1/conv2/kernel": ("encoder.down.0.block.1.conv2.conv.weight", 5),
        "encoder/level_1/joint_block_0/nin_shortcut/kernel": ("encoder.down.1.block.0.nin_shortcut.conv.weight", 5),
        "encoder/level_1/joint_downsample/kernel": ("encoder.down.1.downsample.conv.weight", 5),
        "decoder/level_2/joint_upsample/kernel": ("decoder.up.2.upsample.conv.weight", 5),
    },
    "no_blender": {"decoder/level_2/temporal_upsample/kernel": ("decoder.up_temporal.2.upsample.conv.weight", 5)},
    "no_3d": {
        "decoder/mid/frame_block_1/conv1/kernel": ("decoder.mid.frame_block_1.conv1.weight", 4),
        "decoder/mid/temporal_block_2/conv1/kernel": ("decoder.mid.temporal_block_2.conv1.conv.weight", 3),
    },
}


@pytest.mark.parametrize(("ours", "published"), NONCAUSAL.items())
def test_names_of_the_non_causal_family(ours, published):
    assert torch_name(tuple(ours.split("/")), causality="noncausal") == published


@pytest.mark.parametrize("architecture", ABLATIONS)
def test_ablations_there_and_back(architecture):
    config = defaults().model
    config.update({"channels": 2, "blocks_per_level": 2, "architecture": architecture})
    module, rng = build(config), np.random.default_rng(0)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 1, 8, 8, 3)))["params"]
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)
    state = to_torch(params)
    jax.tree.map(np.testing.assert_array_equal, from_torch(state, shapes), params)
    assert len(state) == len(jax.tree.leaves(shapes))
    for ours, (published, axes) in ABLATIONS[architecture].items():
        assert torch_name(tuple(ours.split("/"))) == published
        assert state[published].ndim == axes


def test_a_quantizer_that_learns_has_no_published_name():
    config = defaults().model
    config.quantizer.update({"name": "vq", "codebook_size": 16})
    module = build(config)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 1, 8, 8, 3)))["params"]
    with pytest.raises(
        ValueError, match=r"the published state dict has no place for quantizer/\w+: its models' quantizers learn"
    ):
        from_torch({}, {"quantizer": shapes["quantizer"]})
