"""OmniTokenizer equals the PyTorch original on the golden files, in float32, at every point where those tell its values."""

import jax
import numpy as np
import pytest
from conftest import golden_files
from omni_weights import as_video, channels_last, model_of, outputs, read_golden, state_dict, template_of, variables_of

from tokjax.conversion.omnitokenizer import to_torch
from tokjax.models.omnitokenizer import OmniTokenizer
from tokjax.quantizers.kl import sample

FILES = golden_files("omnitokenizer/tok_*.npz")
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def case(request):
    arrays, meta = read_golden(request.param)
    model, state = model_of(meta), state_dict(arrays, meta)
    return model, variables_of(model, state), state, as_video(arrays["in/x"]), outputs(arrays), arrays


def test_the_state_dict_comes_back(case):
    """Bit by bit in what is read, and with the published names and shapes in what is not."""
    model, variables, state, *_ = case
    back = to_torch(variables, model, unread_codes=64)
    computed = {name for name in back if name.endswith(("relative_position_index", "num_batches_tracked"))}
    assert back.keys() - computed == state.keys()
    assert all(back[name].shape == state[name].shape for name in state)
    again = variables_of(model, back)
    jax.tree.map(np.testing.assert_array_equal, again, variables)
    unread = [name for name in state if not np.array_equal(back[name], state[name])]
    dead = ("context_norm", "spatial_rel_pos_bias") + (("codebook.",) if model.quantizer.codebook_size is None else ())
    assert all(any(part in name for part in dead) for name in unread)


def test_no_parameter_is_left_unused(case):
    """Every leaf has an effect: the template is what the model builds, and nothing else was put in."""
    model, variables, *_ = case
    template = template_of(model)
    assert jax.tree.structure({name: variables[name] for name in template}) == jax.tree.structure(template)
    assert set(variables) - set(template) <= {"constants"}


def test_encoder(case):
    model, variables, _, video, expected, _ = case
    run = jax.jit(lambda v, x: model.apply(v, x, method=OmniTokenizer.moments, capture_intermediates=True))
    moments, captured = run(variables, video)
    np.testing.assert_allclose(moments, channels_last(expected["z_pre"]), **CLOSE)
    inside = captured["intermediates"]["encoder"]
    if "patch_first" in expected:
        first, *rest = (expected[name] for name in ("patch_first", "patch_rest") if name in expected)
        tokens = np.concatenate([first, *rest], axis=1)
        np.testing.assert_allclose(inside["embedding"]["__call__"][0], tokens, **CLOSE)
        space, time = inside["spatial"]["__call__"][0], np.moveaxis(inside["temporal"]["__call__"][0], 1, 3)
        np.testing.assert_allclose(space, expected["enc_spatial"].reshape(space.shape), **CLOSE)
        np.testing.assert_allclose(time, expected["enc_temporal"].reshape(time.shape), **CLOSE)


def test_quantizer(case):
    model, variables, _, _, expected, arrays = case
    moments = channels_last(expected["z_pre"])
    run = jax.jit(lambda v, z: model.apply(v, z, train=True, method=lambda m, z, train: m.quantizer(z, train=train)))
    quantized = run(variables, moments)
    if quantized.indices is None:
        noise = channels_last(arrays["in/rng_000_randn"])
        np.testing.assert_allclose(quantized.latents, channels_last(expected["mean"]), **CLOSE)
        np.testing.assert_allclose(sample(moments, noise), channels_last(expected["z_sample"]), **CLOSE)
        # The original's loss carries its weight of 1e-6.
        np.testing.assert_allclose(1e-6 * quantized.losses["kl"], expected["kl_loss"], rtol=1e-4)
        return
    sure = expected["index_margin"].reshape(expected["indices"].shape) > 1e-4
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(np.asarray(quantized.indices)[sure], expected["indices"][sure])
    np.testing.assert_allclose(quantized.losses["regularization"], expected["commitment_loss"], rtol=1e-4)
    if "quantized" in expected:
        np.testing.assert_allclose(quantized.latents, channels_last(expected["quantized"]), **CLOSE)


def test_decoder(case):
    """From the original's latents, inside and out. Values inside its two stacks are those of its last call, on `whole`."""
    model, variables, _, _, expected, _ = case
    if "indices" in expected:
        latents = model.apply(variables, expected["indices"], method="indices_to_latents")
        whole = expected["decode_tokens"]
    else:
        latents, whole = channels_last(expected["mean"]), expected["decode_mean"]
    run = jax.jit(lambda v, z: model.apply(v, z, method=OmniTokenizer.decode, capture_intermediates=True))
    video, captured = run(variables, latents)
    np.testing.assert_allclose(video, as_video(whole), **CLOSE)
    drawn = latents if "indices" in expected else channels_last(expected["z_sample"])
    video, of_drawn = run(variables, drawn)
    np.testing.assert_allclose(video, as_video(expected["recon"]), **CLOSE)
    if "dec_spatial" in expected:
        tokens = of_drawn["intermediates"]["decoder"]["from_latents"]["__call__"][0]
        np.testing.assert_allclose(tokens, channels_last(expected["post_vq"]), **CLOSE)
        inside = captured["intermediates"]["decoder"]
        space, time = inside["spatial"]["__call__"][0], np.moveaxis(inside["temporal"]["__call__"][0], 1, 3)
        np.testing.assert_allclose(time, expected["dec_temporal"].reshape(time.shape), **CLOSE)
        np.testing.assert_allclose(space, expected["dec_spatial"].reshape(space.shape), **CLOSE)


def test_codes_and_reconstruction_of_the_video(case):
    model, variables, _, video, expected, _ = case
    if "indices" in expected:  # the original's reconstruction of KL is of what it drew
        again, quantized = jax.jit(model.apply)(variables, video)
        sure = expected["index_margin"].reshape(expected["indices"].shape) > 1e-4
        np.testing.assert_array_equal(np.asarray(quantized.indices)[sure], expected["indices"][sure])
        np.testing.assert_allclose(again, as_video(expected["recon"]), **CLOSE)
