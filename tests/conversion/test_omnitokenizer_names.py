"""OmniTokenizer's published names and shapes: samples written out by hand, round trip, and tensors that do not fit are named."""

import jax
import numpy as np
import pytest
from tiny_omnitokenizer import random_variables, tiny_omnitokenizer

from tokjax.config import defaults
from tokjax.conversion.omnitokenizer import from_torch, to_torch, torch_name
from tokjax.conversion.omnitokenizer_arguments import attention_of, read_arguments, write_arguments

NAMES = {
    "encoder/to_moments/kernel": "pre_vq_conv.1.weight",
    "decoder/from_latents/bias": "post_vq_conv.1.bias",
    "encoder/embedding/first_frame/norm_in/scale": "encoder.to_patch_emb_first_frame.1.weight",
    "encoder/embedding/rest/linear/kernel": "encoder.to_patch_emb.2.weight",
    "encoder/embedding/rest/norm_out/bias": "encoder.to_patch_emb.3.bias",
    "decoder/unembedding/first_frame/linear/bias": "decoder.to_pixels_first_frame.0.bias",
    "decoder/unembedding/rest/linear/kernel": "decoder.to_pixels.0.weight",
    "encoder/spatial/block_1/position/kernel": "encoder.enc_spatial_transformer.layers.1.0.dsconv.weight",
    "encoder/spatial/block_0/attention/key_value/kernel": "encoder.enc_spatial_transformer.layers.0.1.to_kv.weight",
    "encoder/spatial/block_2/attention/projection/bias": "encoder.enc_spatial_transformer.layers.2.1.proj.bias",
    "encoder/spatial/block_3/attention/bias_table": "encoder.enc_spatial_transformer.layers.3.1.relative_position_bias_table",
    "encoder/temporal/norm_out/scale": "encoder.enc_temporal_transformer.norm_out.gamma",
    "decoder/temporal/block_3/feedforward/inner/kernel": "decoder.dec_temporal_transformer.layers.3.3.1.weight",
    "decoder/spatial/block_0/feedforward/norm/scale": "decoder.dec_spatial_transformer.layers.0.3.0.weight",
    "decoder/spatial/block_0/attention/query_scale": "decoder.dec_spatial_transformer.layers.0.1.q_scale",
    "decoder/spatial/block_0/attention/bias/linear_1/kernel": (
        "decoder.dec_spatial_transformer.layers.0.1.spatial_rel_pos_bias.net.1.0.weight"
    ),
    "quantizer/counts": "codebook.N",
    "quantizer/sums": "codebook.z_avg",
}
CNN = {
    "encoder/embedding/rest/linear/kernel": "encoder.to_patch_emb.0.weight",
    "encoder/embedding/rest/norm/mean": "encoder.to_patch_emb.1.running_mean",
    "decoder/unembedding/first_frame/linear/kernel": "decoder.to_pixels_first_frame.1.weight",
    "decoder/unembedding/first_frame/bias": "decoder.to_pixels_first_frame.1.bias",
    "decoder/unembedding/first_frame/norm/scale": "decoder.to_pixels_first_frame.2.weight",
}
# What the released joint model has of its own for a block of each kind, beside the feed-forward part.
ATTENTION = {"q_scale", "k_scale", "norm.gamma", "norm.beta", "context_norm.gamma", "context_norm.beta"}
ATTENTION |= {"to_q.weight", "to_kv.weight", "to_out.weight"}
WINDOW = {"relative_position_bias_table", "relative_position_index", "norm.gamma", "norm.beta", "qkv.weight"}
WINDOW |= {"proj.weight", "proj.bias"}
UNREAD_BIAS = {f"spatial_rel_pos_bias.net.{layer}.{leaf}" for layer in ("0.0", "1.0", "2") for leaf in ("weight", "bias")}


@pytest.mark.parametrize(("ours", "published"), NAMES.items())
def test_names_as_published(ours, published):
    assert torch_name(tuple(ours.split("/"))) == published


@pytest.mark.parametrize(("ours", "published"), CNN.items())
def test_names_of_the_convolutional_ends(ours, published):
    assert torch_name(tuple(ours.split("/")), "cnn") == published


@pytest.fixture
def model():
    """All letters that released models have, in two kinds of stack."""
    return tiny_omnitokenizer(encoder_blocks="tw", decoder_blocks="t", temporal_depth=1)


@pytest.fixture
def state(model):
    return to_torch(random_variables(model), model)


def test_the_keys_are_the_published_ones(state):
    """A part of the list for the released joint model, written by hand."""
    stacks = {
        "encoder.enc_spatial_transformer": [ATTENTION, WINDOW],
        "encoder.enc_temporal_transformer": [ATTENTION | UNREAD_BIAS],
        "decoder.dec_spatial_transformer": [ATTENTION],
        "decoder.dec_temporal_transformer": [ATTENTION | UNREAD_BIAS],
    }
    expected = {f"codebook.{name}" for name in ("embeddings", "N", "z_avg", "codebook_usage")}
    ends = ("pre_vq_conv.1", "post_vq_conv.1", "decoder.to_pixels.0", "decoder.to_pixels_first_frame.0")
    ends += tuple(f"encoder.{name}.{i}" for name in ("to_patch_emb", "to_patch_emb_first_frame") for i in (1, 2, 3))
    expected |= {f"{name}.{leaf}" for name in ends for leaf in ("weight", "bias")}
    for stack, blocks in stacks.items():
        expected |= {f"{stack}.norm_out.gamma", f"{stack}.norm_out.beta"}
        for i, names in enumerate(blocks):
            own = {f"1.{name}" for name in names} | {"3.0.weight", "3.0.bias", "3.1.weight", "3.4.weight"}
            own |= {"0.dsconv.weight", "0.dsconv.bias"} if "to_q.weight" in names else set()
            expected |= {f"{stack}.layers.{i}.{name}" for name in own}
    assert state.keys() == expected


def test_kernels_have_the_published_layout(model):
    variables = random_variables(model)
    state, params = to_torch(variables, model), variables["params"]
    block = params["encoder"]["spatial"]["block_0"]
    dsconv = state["encoder.enc_spatial_transformer.layers.0.0.dsconv.weight"]
    assert dsconv.shape == (16, 1, 3, 3, 3) and dsconv[5, 0, 2, 1, 0] == block["position"]["kernel"][2, 1, 0, 5]
    to_kv = state["encoder.enc_spatial_transformer.layers.0.1.to_kv.weight"]
    assert to_kv.shape == (32, 16) and to_kv[20, 3] == block["attention"]["key_value"]["kernel"][3, 20]
    index = state["encoder.enc_spatial_transformer.layers.1.1.relative_position_index"]
    assert index.dtype == np.int64 and index.tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


def test_the_ends_of_a_convolutional_model_have_the_published_layout():
    model = tiny_omnitokenizer(embedding="cnn")
    variables = random_variables(model)
    state = to_torch(variables, model)
    embedding = variables["params"]["encoder"]["embedding"]["rest"]["linear"]["kernel"]
    head = variables["params"]["decoder"]["unembedding"]["rest"]["linear"]["kernel"]
    place = 1 * 8 + 0 * 4 + 1 * 2 + 0  # colour 1 of 3, frame 0 of 2, row 1 of 2, column 0 of 2
    assert state["encoder.to_patch_emb.0.weight"].shape == state["decoder.to_pixels.1.weight"].shape == (16, 3, 2, 2, 2)
    assert state["encoder.to_patch_emb.0.weight"][7, 1, 0, 1, 0] == embedding[place, 7]
    assert state["decoder.to_pixels.1.weight"][7, 1, 0, 1, 0] == head[7, place]
    assert state["decoder.to_pixels.2.num_batches_tracked"].dtype == np.int64
    jax.tree.map(np.testing.assert_array_equal, from_torch(state, model), variables)


@pytest.mark.parametrize("quantizer", ["vq", "kl"])
@pytest.mark.parametrize("biased", [False, True])
def test_there_and_back_is_bitwise_and_other_networks_are_left_out(quantizer, biased):
    model = tiny_omnitokenizer(quantizer)
    variables = random_variables(model)
    if biased:
        state = to_torch(variables, model)
        random = np.random.default_rng(1)
        state |= {name: random.normal(size=value.shape).astype(np.float32) for name, value in state.items() if "beta" in name}
        variables = from_torch(state, model)
        assert {"params", "constants"} <= variables.keys()
    state = to_torch(variables, model)
    others = {"image_discriminator.model0.0.weight": np.ones(3), "video_discriminator.x": np.ones(1)}
    others |= {"perceptual_model.lin0.model.1.weight": np.ones(2)}
    back = from_torch(state | others, model)
    jax.tree.map(np.testing.assert_array_equal, back, variables)
    again = to_torch(back, model)
    assert again.keys() == state.keys() and all(np.array_equal(again[name], state[name]) for name in state)


def test_neutral_values_stand_for_what_is_not_read(state):
    prefix = "decoder.dec_temporal_transformer.layers.0.1."
    assert np.all(state[f"{prefix}context_norm.gamma"] == 1) and np.all(state[f"{prefix}context_norm.beta"] == 0)
    assert not np.any(state[f"{prefix}spatial_rel_pos_bias.net.1.0.weight"])
    continuous = tiny_omnitokenizer("kl")
    codebook = to_torch(random_variables(continuous), continuous)["codebook.embeddings"]
    assert codebook.shape == (8192, 4)


def test_relative_biases_are_read_by_explicit_attention_alone():
    name = "encoder.enc_spatial_transformer.layers.0.1.spatial_rel_pos_bias.net.2.weight"
    fused, explicit = (tiny_omnitokenizer(position="relative", attention=kind) for kind in ("fused", "explicit"))
    assert not np.any(to_torch(random_variables(fused), fused)[name])
    variables = random_variables(explicit)
    own = variables["params"]["encoder"]["spatial"]["block_0"]["attention"]["bias"]["linear_2"]["kernel"]
    np.testing.assert_array_equal(to_torch(variables, explicit)[name], own.T)


def test_a_missing_tensor_is_named(state, model):
    del state["encoder.to_patch_emb.2.bias"]
    with pytest.raises(ValueError, match=r"lacks the tensor encoder.to_patch_emb.2.bias, which this model needs"):
        from_torch(state, model)


def test_tensors_that_are_left_over_are_counted_and_named(state, model):
    state |= {"encoder.zzz": np.zeros(2), "codebook.more": np.zeros(2)}
    with pytest.raises(ValueError, match=r"has 2 tensors that this model does not know, the first is codebook.more"):
        from_torch(state, model)


@pytest.mark.parametrize("wrong", [(12, 16), (16, 13), (192,), (16, 3, 4)])
def test_a_tensor_of_another_shape_is_named(state, model, wrong):
    state["encoder.to_patch_emb_first_frame.2.weight"] = np.zeros(wrong, np.float32)
    message = rf"the tensor encoder.to_patch_emb_first_frame.2.weight has shape \({wrong[0]},.*but this model needs \(16, 12\)"
    with pytest.raises(ValueError, match=message):
        from_torch(state, model)


RELEASED = {
    **{"embedding_dim": 512, "heads": 8, "dim_head": 64, "patch_size": 8, "temporal_patch_size": 4, "spatial_depth": 4},
    **{"temporal_depth": 4, "enc_block": "ttww", "dec_block": "tttt", "twod_window_size": 8, "patch_embed": "linear"},
    **{"casual_in_temporal_transformer": True, "casual_in_peg": True, "spatial_pos": "rope", "n_codes": 8192},
    **{"codebook_dim": 8, "l2_code": True, "no_random_restart": True, "q_strides": "4,4", "use_checkpoint": False},
}


def test_arguments_with_the_spelling_of_released_checkpoints():
    model = read_arguments(RELEASED)
    assert model["causal"] is model["causal_convolution"] is True
    assert (model["width"], model["window"], model["position"], model["upscale"]) == (512, 8, "rope", 1)
    assert model["quantizer"]["name"] == "vq" and model["quantizer"]["codebook_size"] == 8192


def test_what_older_checkpoints_do_not_say():
    older = {name: value for name, value in RELEASED.items() if name not in ("enc_block", "dec_block", "twod_window_size")}
    del older["spatial_pos"]
    model = read_arguments(older)
    assert (model["encoder_blocks"], model["decoder_blocks"], model["window"], model["position"]) == (
        "tttt",
        "tttt",
        4,
        "relative",
    )
    assert (model["defer_time_pool"], model["defer_space_pool"]) == (False, False)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"embedding_dim": None}, "arguments lack embedding_dim, which the model cannot be built without"),
        (
            {"use_external_codebook": True},
            "use_external_codebook=True; only use_external_codebook=False is supported",
        ),
        ({"ff_mult": 2}, "was made with ff_mult=2; only ff_mult=4 is supported"),
        ({"spatial_pos": "abs"}, "has spatial_pos='abs' and patch_embed='linear'; known are rope and rel, linear and cnn"),
    ],
)
def test_arguments_that_cannot_be_followed(changes, sentence):
    arguments = {name: value for name, value in (RELEASED | changes).items() if value is not None}
    with pytest.raises(ValueError, match=sentence):
        read_arguments(arguments)


@pytest.mark.parametrize("changes", [{}, {"use_vae": True}, {"spatial_pos": "rel", "gen_upscale": 2, "no_random_restart": False}])
def test_arguments_there_and_back(changes):
    model = defaults("omnitokenizer").model
    model.update(read_arguments(RELEASED | changes))
    assert read_arguments(write_arguments(model)) == read_arguments(RELEASED | changes)


def test_the_rule_for_attention():
    assert attention_of("imagenet_only.ckpt", "relative") == "explicit"
    assert attention_of("celebahq.ckpt", "relative") == attention_of("imagenet_only.ckpt", "rope") == "fused"
