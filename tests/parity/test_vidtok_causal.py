"""VidTok causal v1.0 equals the PyTorch original on the golden files, in float32."""

import jax
import numpy as np
import pytest
from conftest import golden_files
from torch_weights import channels_last, model_config, read_golden, state_dict

from tokjax.conversion.vidtok import from_torch, to_torch
from tokjax.models.convolution import CONVOLUTION_FORM
from tokjax.models.tokenizer import build

FILES = [path for path in golden_files("vidtok/*_causal_*.npz") if "v1_1" not in path.stem and "train" not in path.stem]


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def case(request):
    arrays, meta = read_golden(request.param)
    config = model_config(meta)
    model = build(config)
    template = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 1, 16, 16, 3), np.float32))["params"]
    state = state_dict(meta)
    return model, {"params": from_torch(state, template, config.norm)}, state, arrays


def _inputs(arrays):
    return [name.removeprefix("in:") for name in arrays if name.startswith("in:")]


def test_state_dict_round_trip_is_bitwise(case):
    model, variables, state, arrays = case
    back = to_torch(variables["params"], model.style.norm)
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[name], state[name]) for name in state)
    if "sd_check" in arrays:  # the weights are the ones the original ran with
        sums = [[state[key].astype(np.float64).sum(), np.square(state[key].astype(np.float64)).sum()] for key in sorted(state)]
        np.testing.assert_allclose(sums, arrays["sd_check"], rtol=1e-12)


def test_encoder_and_decoder(case):
    model, variables, _, arrays = case
    moments_of = jax.jit(lambda v, x: model.apply(v, x, method="moments"))
    decode = jax.jit(lambda v, z: model.apply(v, z, method="decode"))
    for name in _inputs(arrays):
        expected = {key.rpartition("/")[2]: value for key, value in arrays.items() if key.startswith(f"out:{name}/")}
        moments = moments_of(variables, channels_last(arrays[f"in:{name}"]))
        np.testing.assert_allclose(moments, channels_last(expected["moments"]), atol=5e-5, rtol=0)
        quantized = model.quantizer(moments, train=True)
        _check_quantized(model, quantized, expected)
        video = decode(variables, quantized.latents)
        np.testing.assert_allclose(video, channels_last(expected["recon"]), atol=5e-5, rtol=0)


def _check_quantized(model, quantized, expected):
    if quantized.indices is None:
        np.testing.assert_allclose(quantized.latents, channels_last(expected["z_mode"]), atol=5e-5, rtol=0)
        np.testing.assert_allclose(quantized.losses["kl"], expected["kl_loss"], rtol=1e-4)
        return
    np.testing.assert_array_equal(quantized.indices, expected["indices"])
    np.testing.assert_allclose(quantized.latents, channels_last(expected["z_q"]), atol=1e-6, rtol=0)
    for ours, theirs in {"per_sample_entropy": "per_sample_entropy", "codebook_entropy": "codebook_entropy"}.items():
        np.testing.assert_allclose(quantized.losses[ours], expected[theirs], rtol=1e-3)
    np.testing.assert_allclose(quantized.losses["commitment"], expected["commit_loss"], rtol=1e-4)
    np.testing.assert_allclose(quantized.losses["regularization"], expected["aux_loss_n0"], rtol=1e-3)


@pytest.mark.parametrize("form", ["direct", "shifted"])
def test_both_forms_of_convolution_give_the_golden_numbers(case, form):
    model, variables, _, arrays = case
    token = CONVOLUTION_FORM.set(form)
    try:
        moments = jax.jit(lambda v, x: model.apply(v, x, method="moments"))(variables, channels_last(arrays["in:x"]))
    finally:
        CONVOLUTION_FORM.reset(token)
    np.testing.assert_allclose(moments, channels_last(arrays["out:x/moments"]), atol=5e-5, rtol=0)
