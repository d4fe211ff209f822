"""OmniTokenizer by itself: what is causal and what is not, sizes, precision, what trains, and what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_omnitokenizer import random_variables, tiny_config, tiny_omnitokenizer

from tokjax.config import ConfigError, stream, validate
from tokjax.models.token_layers import Style
from tokjax.models.tokenizer import Tokenizer
from tokjax.models.transformer import Stack
from tokjax.training.optimizers import make_optimizer


def random_model(quantizer="kl", **changes):
    model = tiny_omnitokenizer(quantizer, **changes)
    return model, random_variables(model)


def clip(frames, height=8, width=8, batch=1, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (batch, frames, height, width, 3)).astype(np.float32)


@partial(jax.jit, static_argnums=(0, 3))
def apply(model, variables, values, method):
    return model.apply(variables, values, method=method)


def encode(model, variables, video):
    return np.asarray(apply(model, variables, video, "encode").latents)


def decode(model, variables, latents):
    return np.asarray(apply(model, variables, latents, "decode"))


@pytest.mark.parametrize(("mode", "causal"), [("sound", True), ("published", False)])
@pytest.mark.parametrize("attention", ["fused", "explicit"])
def test_later_frames_change_earlier_latents_only_as_published(mode, causal, attention):
    model, variables = random_model(mode=mode, attention=attention)
    video = clip(7)
    later = video.copy()
    later[:, 5:] *= -1
    change = np.abs(encode(model, variables, later) - encode(model, variables, video)).max((0, 2, 3, 4))
    assert (change[:3].max() < 1e-5) == causal and change[3] > 1e-2


@pytest.mark.parametrize(("mode", "same"), [("sound", True), ("published", False)])
def test_an_image_is_the_first_frame_of_a_video_in_the_sound_mode_only(mode, same):
    model, variables = random_model(mode=mode)
    of_image, of_video = (encode(model, variables, clip(7)[:, :n])[:, 0] for n in (1, 7))
    assert (np.abs(of_image - of_video).max() < 1e-5) == same


@pytest.mark.parametrize(("mode", "causal"), [("sound", True), ("published", False)])
def test_later_latents_change_earlier_frames_only_as_published(mode, causal):
    model, variables = random_model(mode=mode)
    latents = np.random.default_rng(1).normal(size=(1, 4, 4, 4, 4)).astype(np.float32)
    later = latents.copy()
    later[:, 3] *= -1
    change = np.abs(decode(model, variables, later) - decode(model, variables, latents)).max((0, 2, 3, 4))
    assert (change[:5].max() < 1e-5) == causal and change[5:].min() > 1e-2


@pytest.mark.parametrize("part", ["causal", "causal_convolution"])
def test_what_is_not_asked_to_be_causal_is_not(part):
    model, variables = random_model(mode="sound", **{part: False})
    first = [encode(model, variables, clip(7, seed=3) if changed else clip(7)) for changed in (False, True)]
    later = clip(7)
    later[:, 5:] *= -1
    assert np.abs(encode(model, variables, later) - first[0])[:, :3].max() > 1e-3


@pytest.mark.parametrize("mode", ["sound", "published"])
def test_clips_do_not_mix(mode):
    model, variables = random_model(mode=mode)
    both = clip(5, batch=2)
    np.testing.assert_allclose(encode(model, variables, both)[1:], encode(model, variables, both[1:]), atol=1e-5)


@pytest.mark.parametrize("mode", ["sound", "published"])
def test_a_constant_added_to_a_whole_patch_is_not_seen(mode):
    """The embedding normalises a patch's values first (linear embedding)."""
    model, variables = random_model(mode=mode)
    video = clip(5)
    lighter = video + 0.6
    np.testing.assert_allclose(encode(model, variables, lighter), encode(model, variables, video), atol=1e-3)


def test_oblong_frames_in_the_sound_mode_are_transposed_as_a_whole():
    """Sides are told apart: an oblong frame makes an oblong grid, and equals the square one where windows are all there is."""
    model, variables = random_model(mode="sound", encoder_blocks="w", temporal_depth=1)
    square = clip(1, 16, 16)
    whole, part = encode(model, variables, square), encode(model, variables, square[:, :, :8])
    assert part.shape == (1, 1, 4, 8, 4) == (1, *model.latent_shape(1, 8, 16))
    inner = np.s_[:, :, :3]  # the convolution along time sees one row beyond
    np.testing.assert_allclose(part[inner], whole[:, :, :4][inner], atol=1e-5)
    assert np.abs(part[:, :, 3] - whole[:, :, 3]).max() > 1e-3
    assert decode(model, variables, part).shape == (1, 1, 8, 16, 3)


def test_sides_and_lengths_are_padded_to_what_comes_back_whole():
    published, sound = (tiny_omnitokenizer(mode=mode) for mode in ("published", "sound"))
    assert published.pad_sides(5, 9) == (12, 12) and sound.pad_sides(5, 9) == (8, 12)
    assert tiny_omnitokenizer(mode="sound", encoder_blocks="t").pad_sides(5, 9) == (6, 10)
    assert [sound.pad_frames(n) for n in (1, 2, 3, 4)] == [(0, 0), (0, 1), (0, 0), (0, 1)]
    assert sound.latent_shape(4, 5, 9) == (3, 4, 6, 4)
    assert published.space_factor == 2


@pytest.mark.parametrize("mode", ["sound", "published"])
def test_the_tokenizer_gives_back_any_length_and_size(mode):
    model, variables = random_model("vq", mode=mode)
    tokenizer = Tokenizer(model, variables, tiny_config("vq", mode=mode))
    video = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 9, 3), np.uint8)
    encoded = tokenizer.encode(video)
    assert encoded.latents.shape == (2, *model.latent_shape(4, 5, 9))
    again = tokenizer.decode(encoded)
    assert (again.shape, again.dtype) == (video.shape, np.uint8)
    whole = tokenizer.decode(np.asarray(encoded.indices))
    expected = np.clip(np.round((whole[:, :4, :5, :9].astype(np.float64) + 1) * 127.5), 0, 255)
    assert np.abs(again - expected).max() <= 1  # one where a value lies on a half


@pytest.mark.parametrize("tile", [None, (8, 8)])
def test_what_is_enlarged_comes_back_whole(tile):
    """Twice as high and wide, the same part of what the model itself gives."""
    model, variables = random_model("vq", mode="sound", upscale=2)
    tokenizer = Tokenizer(model, variables, tiny_config("vq", mode="sound", upscale=2))
    encoded = tokenizer.encode(clip(2, 5, 9))
    again, whole = tokenizer.decode(encoded, tile=tile), tokenizer.decode(encoded.indices)
    assert whole.shape == (1, 3, 16, 24, 3) and again.shape == (1, 2, 10, 18, 3)
    if tile is None:
        np.testing.assert_allclose(again, whole[:, :2, :10, :18], atol=1e-4)


@pytest.mark.parametrize("mode", ["sound", "published"])
def test_chunks_are_refused_in_a_sentence(mode):
    model, variables = random_model(mode=mode)
    tokenizer = Tokenizer(model, variables, tiny_config("kl", mode=mode))
    with pytest.raises(ValueError, match="this model sees a whole clip at once, so chunks would not give what the clip gives"):
        tokenizer.encode(clip(5), chunk_frames=4)


@pytest.mark.parametrize(
    ("mode", "shape", "sentence"),
    [
        ("sound", (1, 4, 8, 8, 3), "a clip of 4 frames is not one longer than a multiple of 2"),
        ("sound", (1, 1, 7, 8, 3), "frames of 7x8 are not made of patches of 2 pixels"),
        ("published", (1, 1, 8, 12, 3), "frames of 8x12 are not square"),
        ("sound", (1, 1, 6, 8, 3), "a grid of 3x4 tokens is not made of windows of 2x2"),
    ],
)
def test_sizes_that_have_to_be_padded_are_refused(mode, shape, sentence):
    model, variables = random_model(mode=mode)
    with pytest.raises(ValueError, match=sentence):
        model.apply(variables, jnp.zeros(shape), method="moments")


@pytest.mark.parametrize(("encoder_blocks", "decoder_blocks"), [("ta", "nt"), ("mw", "tr"), ("lt", "wn")])
@pytest.mark.parametrize("mode", ["sound", "published"])
def test_halved_grids_come_back(encoder_blocks, decoder_blocks, mode):
    model, variables = random_model(mode=mode, encoder_blocks=encoder_blocks, decoder_blocks=decoder_blocks)
    assert model.space_factor == 4
    video, quantized = apply(model, variables, clip(3, 16, 16), "__call__")
    assert quantized.latents.shape == (1, 2, 4, 4, 4) and video.shape == (1, 3, 16, 16, 3)


def test_linear_halving_joins_squares_in_the_sound_mode_and_rows_as_published():
    for mode, together in (("sound", [0, 1, 4, 5]), ("published", [0, 1, 2, 3])):
        model, variables = random_model(mode=mode, encoder_blocks="l", decoder_blocks="n", temporal_depth=1)
        run = jax.jit(lambda v, x, model=model: model.apply(v, x, capture_intermediates=True, method="encode")[1])
        tokens = np.asarray(run(variables, clip(1))["intermediates"]["encoder"]["embedding"]["__call__"][0]).reshape(16, 16)
        inside = run(variables, clip(1))["intermediates"]["encoder"]["spatial"]["block_0"]["resample"]["__call__"][0]
        join = variables["params"]["encoder"]["spatial"]["block_0"]["resample"]["join"]
        expected = tokens[together].reshape(-1) @ join["kernel"] + join["bias"]
        np.testing.assert_allclose(inside[0, 0, 0, 0], expected, atol=1e-4)


def test_half_precision_is_near_full_precision():
    """Parameters stay as they are; moments differ by what 8 bits make of them."""
    model, variables = random_model(mode="sound")
    half = tiny_omnitokenizer("kl", mode="sound", dtype="bfloat16")
    one, other = encode(model, variables, clip(5)), encode(half, variables, clip(5))
    assert other.dtype == np.float32 and 1e-5 < np.abs(one - other).mean() < 0.05 * np.abs(one).mean()
    shapes = jax.eval_shape(half.init, jax.random.key(0), clip(1))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(shapes["params"]))


@pytest.mark.slow
def test_blocks_computed_anew_give_the_same_gradients():
    tokens = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, 4, 4, 16)), jnp.float32)
    plain, again = (Stack("tw", Style(heads=2, head_width=8, window=2, remat=remat)) for remat in (False, True))
    variables = jax.jit(plain.init)(jax.random.key(0), tokens)
    one, other = (jax.jit(jax.grad(lambda v, m=m: jnp.sum(m.apply(v, tokens) ** 2)))(variables) for m in (plain, again))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), one, other)


@pytest.mark.slow
def test_every_parameter_has_a_gradient():
    model, variables = random_model(mode="sound", attention="explicit", position="relative")
    loss = jax.grad(lambda p: jnp.sum(model.apply({"params": p}, clip(5))[0] ** 2))
    silent = [
        path for path, value in jax.tree_util.tree_leaves_with_path(jax.jit(loss)(variables["params"])) if not np.any(value)
    ]
    assert silent == []


@pytest.mark.parametrize(("embedding", "same"), [("linear", True), ("plain", False)])
def test_brightness_and_contrast_are_lost_to_the_released_embedding_only(embedding, same):
    model, variables = random_model(mode="sound", embedding=embedding)
    video = clip(3)
    assert (np.abs(encode(model, variables, 0.5 * video + 0.3) - encode(model, variables, video)).max() < 1e-2) == same


def test_images_do_not_read_the_weights_of_later_frames():
    model, variables = random_model(mode="sound")
    embedding = variables["params"]["encoder"]["embedding"]
    changed = {**embedding, "rest": jax.tree.map(jnp.zeros_like, embedding["rest"])}
    encoder = {**variables["params"]["encoder"], "embedding": changed}
    other = {"params": {**variables["params"], "encoder": encoder}}
    np.testing.assert_array_equal(encode(model, variables, clip(1)), encode(model, other, clip(1)))
    assert np.abs(encode(model, variables, clip(3)) - encode(model, other, clip(3)))[:, 1].max() > 1e-2


def test_a_codebook_follows_and_images_leave_statistics_of_later_frames_alone():
    model, variables = random_model("vq", mode="sound", embedding="cnn")
    state = {name: value for name, value in variables.items() if name != "params"}
    run = jax.jit(lambda v, x: model.apply(v, x, jax.random.key(0), train=True, mutable=list(state)))
    (_, quantized), after = run(variables, clip(1))
    assert set(after) == {"codebook", "batch_stats"}
    assert quantized.indices.shape == (1, 1, 4, 4) and quantized.losses["regularization"] > 0
    assert not np.array_equal(after["codebook"]["quantizer"]["counts"], state["codebook"]["quantizer"]["counts"])
    for half, end in (("encoder", "embedding"), ("decoder", "unembedding")):
        before, now = (tree["batch_stats"][half][end] for tree in (state, after))
        assert not np.array_equal(before["first_frame"]["norm"]["mean"], now["first_frame"]["norm"]["mean"])
        np.testing.assert_array_equal(before["rest"]["norm"]["mean"], now["rest"]["norm"]["mean"])


def test_codes_come_back_from_their_indices():
    model, variables = random_model("vq", mode="sound")
    quantized = apply(model, variables, clip(5), "encode")
    latents = apply(model, variables, quantized.indices, "indices_to_latents")
    np.testing.assert_allclose(latents, quantized.latents, atol=1e-6)


def test_fixed_biases_of_norms_have_an_effect_and_are_never_trained():
    """They live beside the parameters: no gradient is taken of them, no optimizer sees them."""
    model, variables = random_model(mode="published")
    beta = {"constants": {"encoder": {"spatial": {"norm_out": {"beta": jnp.full(16, 0.5)}}}}}
    assert np.abs(encode(model, variables | beta, clip(3)) - encode(model, variables, clip(3))).max() > 0.1
    optimizer = make_optimizer(tiny_config().optimizer, 1)
    loss = lambda p: jnp.sum(model.apply({"params": p, **beta}, clip(3), mutable=["constants"])[0][0] ** 2)  # noqa: E731
    gradients = jax.eval_shape(jax.grad(loss), variables["params"])
    assert jax.tree.structure(gradients) == jax.tree.structure(variables["params"])
    moments = jax.eval_shape(optimizer.init, gradients)
    assert not any("beta" in jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(moments))
    after = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["constants"])[1])(variables | beta, clip(3))
    jax.tree.map(np.testing.assert_array_equal, after["constants"], beta["constants"])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"mode": "causal"}, "config.model.mode must be one of published, sound, not 'causal'"),
        ({"position": "rotary"}, "config.model.position must be one of rope, relative"),
        ({"encoder_blocks": "txw"}, "config.model.encoder_blocks is 'txw'; it is made of the letters t, w, a, m, l"),
        ({"decoder_blocks": ""}, "config.model.decoder_blocks is ''; it is made of the letters t, w, n, r"),
        ({"encoder_blocks": "ta"}, "config.model halves the grid 1 times but doubles it 0 times"),
        ({"head_width": 6}, "config.model.head_width is 6, but position='rope' needs a multiple of 4"),
        ({"heads": 3}, "config.model.width is 16, which the 3 heads of window attention do not divide"),
        ({"time_factor": 3, "defer_time_pool": True}, "config.model.defer_time_pool halves time_factor, which is 3"),
        ({"defer_space_pool": True, "embedding": "cnn"}, "config.model.defer_space_pool works with embedding='linear' only"),
        ({"mode": "sound", "position": "relative"}, "position='relative' takes no part in attention='fused'"),
        ({"width": 0}, "config.model.width must be at least 1, not 0"),
        ({"init": "he"}, "config.model.init must be one of published, vit, not 'he'"),
    ],
)
def test_models_that_cannot_work_are_refused(changes, sentence):
    with pytest.raises(ConfigError, match=sentence) as caught:
        tiny_config(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "clips", "sentence"),
    [
        ({}, {"resolution": 6}, "resolution is 6, which the model's factor 4 does not divide"),
        ({}, {"frames": 4}, "frames is 4, but this model gives back whole only clips of 1 more than a multiple of 2"),
        ({"upscale": 2}, {}, "which config.model.upscale makes 2 times as large"),
    ],
)
def test_streams_that_cannot_work_are_refused(model, clips, sentence):
    config = tiny_config(**model)
    config.data.train.clips = stream("videos", "x", **({"frames": 3, "resolution": 8} | clips))
    with pytest.raises(ConfigError, match=sentence):
        validate(config)
