"""VidTok's three families equal the PyTorch originals on the golden files, in float32."""

import jax
import numpy as np
import pytest
from conftest import golden_files
from torch_weights import channels_last, load_model, read_golden, state_dict

from tokjax.conversion.vidtok import to_torch
from tokjax.models.convolution import CONVOLUTION_FORM
from tokjax.models.tokenizer import Tokenizer
from tokjax.quantizers.kl import sample

LONG = (
    "kl_causal_288_8chn",
    "kl_causal_488_4chn_v1_1",
    "kl_causal_groupnorm_3level",
    "kl_noncausal_488_groupnorm",
)  # to compile, like others that stay
FILES = [
    pytest.param(path, marks=[pytest.mark.slow] if path.stem in LONG else [], id=path.stem)
    for path in golden_files("vidtok/*causal*.npz")
    if "train" not in path.stem
]


@pytest.fixture(scope="module", params=FILES)
def case(request):
    arrays, meta = read_golden(request.param)
    return *load_model(meta), meta, arrays


def _inputs(arrays):
    return [name.removeprefix("in:") for name in arrays if name.startswith("in:")]


def test_state_dict_round_trip_is_bitwise(case):
    model, variables, meta, arrays = case
    state = state_dict(meta)
    back = to_torch(variables["params"], model.style.norm, model.causality)
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[name], state[name]) for name in state)
    # The weights are the ones that the original ran with.
    sums = [[state[key].astype(np.float64).sum(), np.square(state[key].astype(np.float64)).sum()] for key in sorted(state)]
    np.testing.assert_allclose(sums, arrays["sd_check"], rtol=1e-12)


def test_encoder_and_decoder(case):
    model, variables, _, arrays = case
    moments_of = jax.jit(lambda v, x: model.apply(v, x, method="moments"))
    decode = jax.jit(lambda v, z: model.apply(v, z, method="decode"))
    for name in _inputs(arrays):
        moments = moments_of(variables, channels_last(arrays[f"in:{name}"]))
        np.testing.assert_allclose(moments, channels_last(arrays[f"out:{name}/moments"]), atol=5e-5, rtol=0)
        quantized = model.quantizer(moments, train=True)
        if quantized.indices is None:
            _check_kl(arrays, name, moments, quantized)
        else:
            _check_fsq(arrays, name, moments, quantized, model.quantizer)
        video = decode(variables, quantized.latents)
        np.testing.assert_allclose(video, channels_last(arrays[f"out:{name}/recon"]), atol=5e-5, rtol=0)


def _check_kl(arrays, name, moments, quantized):
    np.testing.assert_allclose(quantized.latents, channels_last(arrays[f"out:{name}/z_mode"]), atol=5e-5, rtol=0)
    np.testing.assert_allclose(quantized.losses["kl"], arrays[f"out:{name}/kl_loss"], rtol=1e-4)
    drawn = sample(moments, channels_last(arrays[f"out:{name}/noise"]))
    np.testing.assert_allclose(drawn, channels_last(arrays[f"out:{name}/z_sample"]), atol=1e-4, rtol=1e-4)


def _check_fsq(arrays, name, moments, quantized, quantizer):
    np.testing.assert_array_equal(quantized.indices, arrays[f"out:{name}/indices"])
    np.testing.assert_allclose(quantized.latents, channels_last(arrays[f"out:{name}/z_q"]), atol=1e-6, rtol=0)
    for entropy in ("per_sample_entropy", "codebook_entropy"):
        np.testing.assert_allclose(quantized.losses[entropy], arrays[f"out:{name}/{entropy}"], rtol=1e-3)
    np.testing.assert_allclose(quantized.losses["commitment"], arrays[f"out:{name}/commit_loss"], rtol=1e-4)
    for step in (0, 500, 1000, 5000):
        loss = quantizer(moments, train=True, step=step).losses["regularization"]
        np.testing.assert_allclose(loss, arrays[f"out:{name}/aux_loss_n{step}"], rtol=1e-3)


@pytest.mark.slow
def test_the_tokenizer_gives_back_the_frames_that_the_original_keeps(golden):
    """The original's v1.1 reconstructs any length, by padding in front and keeping the last frames."""
    arrays, meta = read_golden(golden("vidtok/kl_causal_488_4chn_v1_1.npz"))
    video = channels_last(arrays["in:xr"])
    assert video.shape[1] == 14
    again = Tokenizer(*load_model(meta), None).reconstruct(video)
    np.testing.assert_allclose(again, channels_last(arrays["out:xr/recon"])[:, -14:], atol=5e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kl_causal_288_8chn", "fsq_noncausal_488_262144", "kl_causal_488_4chn_v1_1"])
def test_the_form_for_accelerators_gives_the_golden_numbers(golden, name):
    arrays, meta = read_golden(golden(f"vidtok/{name}.npz"))
    model, variables = load_model(meta)
    token = CONVOLUTION_FORM.set("direct")
    try:
        video, _ = jax.jit(lambda v, x: model.apply(v, x))(variables, channels_last(arrays["in:x"]))
    finally:
        CONVOLUTION_FORM.reset(token)
    expected = channels_last(arrays["out:x/recon"])[:, -video.shape[1] :]
    np.testing.assert_allclose(video, expected, atol=5e-5, rtol=0)
