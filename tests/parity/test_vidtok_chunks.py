"""Long video in chunks: VidTok v1.1's own way equals the PyTorch original's, and the exact way the original in one piece."""

import numpy as np
import pytest
from conftest import golden_files
from torch_weights import channels_last, load_model, read_golden

from tokjax.models import streaming, upstream_chunks
from tokjax.models.tokenizer import Tokenizer

FILES = golden_files("vidtok/*_causal_*_v1_1.npz")


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def case(request):
    arrays, meta = read_golden(request.param)
    return *load_model(meta), meta["tiling"], arrays


def _runs(tiling, arrays):
    """(input, chunk frames, overlap, where its arrays are) of each run in chunks that the file holds."""
    for tag, run in tiling.items():
        for name in run["inputs"]:
            if f"out:{name}/{tag}/moments" in arrays:
                yield name, run["t_chunk_enc"], run["use_overlap"], f"out:{name}/{tag}"


def test_encoder(case):
    model, variables, tiling, arrays = case
    for name, frames, _, out in _runs(tiling, arrays):
        moments = upstream_chunks.encode_moments(model, variables, channels_last(arrays[f"in:{name}"]), frames)
        np.testing.assert_allclose(moments, channels_last(arrays[f"{out}/moments"]), atol=5e-5, rtol=0)
        quantized = model.quantizer(moments)
        np.testing.assert_allclose(quantized.latents, channels_last(arrays[f"{out}/z"]), atol=5e-5, rtol=0)
        if quantized.indices is not None:
            np.testing.assert_array_equal(quantized.indices, arrays[f"{out}/indices"])
        key = "kl_loss" if quantized.indices is None else "aux_loss"
        np.testing.assert_allclose(_mean_loss(model, moments, frames), arrays[f"{out}/{key}"], rtol=1e-3)


def _mean_loss(model, moments, frames):
    """The original's loss of a video in chunks: the mean over the chunks' own."""
    latents = frames // model.time_factor
    chunks = np.split(moments, range(1, moments.shape[1], latents), axis=1)
    return np.mean([float(model.quantizer(chunk, train=True).losses["regularization"]) for chunk in chunks])


def test_decoder(case):
    model, variables, tiling, arrays = case
    for name, frames, overlap, out in _runs(tiling, arrays):
        whole = "z_mode" if f"out:{name}/z_mode" in arrays else "z_q"
        for latents, expected in ((f"{out}/z", "recon"), (f"out:{name}/{whole}", "recon_from_oneshot_z")):
            video = upstream_chunks.decode(model, variables, channels_last(arrays[latents]), frames, overlap)
            np.testing.assert_allclose(video, channels_last(arrays[f"{out}/{expected}"]), atol=5e-5, rtol=0)


def test_the_tokenizer_reconstructs_as_the_original_does(case):
    """With overlap, as the published scripts, and any length, of which the original keeps the last frames."""
    model, variables, tiling, arrays = case
    for name, frames, overlap, out in _runs(tiling, arrays):
        if overlap:
            video = channels_last(arrays[f"in:{name}"])
            again = Tokenizer(model, variables, None).reconstruct(video, chunk_frames=frames, mode="upstream")
            expected = channels_last(arrays[f"{out}/recon"])[:, -video.shape[1] :]
            np.testing.assert_allclose(again, expected, atol=5e-5, rtol=0)


@pytest.mark.slow
def test_exact_chunks_give_what_the_original_gives_in_one_piece(case):
    model, variables, _, arrays = case
    frames = 2 * model.time_factor
    moments = streaming.encode_moments(model, variables, channels_last(arrays["in:xl"]), frames)
    np.testing.assert_allclose(moments, channels_last(arrays["out:xl/moments"]), atol=5e-5, rtol=0)
    video = streaming.decode(model, variables, model.quantizer(moments).latents, frames)
    np.testing.assert_allclose(video, channels_last(arrays["out:xl/recon"]), atol=5e-5, rtol=0)
