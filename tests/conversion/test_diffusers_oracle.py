"""Models of diffusers' `AutoencoderVidTok`, converted, give what that class gives, and directories come back bit for bit."""

import json

import jax
import numpy as np
import pytest

import tokjax
from tokjax import cli

torch = pytest.importorskip("torch", reason='compares with PyTorch: pip install "tokjax[torch]"')
diffusers = pytest.importorskip("diffusers", minversion="0.42", reason='compares with diffusers: pip install "tokjax[torch]"')

FSQ = {"regularizer": "fsq", "double_z": False, "z_channels": 4, "codebook_size": 4096}
CASES = {
    "causal KL": {"z_channels": 3},
    "causal FSQ, half the time": {"tempo_ds": [1], "tempo_us": [2], "spatial_ds": [1], "spatial_us": [2], **FSQ},
    "causal KL, an eighth": {"ch_mult": [1, 1, 2, 2], "z_channels": 2, "tempo_ds": [0, 1, 2], "tempo_us": [1, 2, 3]},
    "non-causal KL": {"z_channels": 3, "is_causal": False},
    "non-causal FSQ": {"is_causal": False, **FSQ},
}
ATOL = 5e-5


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """A model of random weights at a tiny width, its directory, and what we make of it."""
    torch.manual_seed(sorted(CASES).index(request.param))
    model = diffusers.AutoencoderVidTok(**{"ch": 8, "ch_mult": [1, 2, 2], "num_res_blocks": 1, **CASES[request.param]}).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # gains and blends of 1 and biases of 0 would hide mistakes
            parameter += 0.1 * torch.randn_like(parameter)
    folder = tmp_path_factory.mktemp("diffusers")
    model.save_pretrained(folder / "theirs")
    assert cli.main(["convert", "vidtok", "--checkpoint", str(folder / "theirs"), "-o", str(folder / "ours")]) == 0
    return model, tokjax.load(folder / "ours"), folder


def clip(frames, seed=0):
    """A video [1,t,16,24,3] in -1..1, as ours and as theirs."""
    video = np.random.default_rng(seed).uniform(-1, 1, (1, frames, 16, 24, 3)).astype(np.float32)
    return video, torch.from_numpy(np.moveaxis(video, -1, 1))


def ours_of(tensor):
    return np.moveaxis(tensor.detach().numpy(), 1, -1)


def frames_of(model):
    """Two latents long; at least as long as a non-causal model of theirs wants."""
    return 2 * model.temporal_compression_ratio if model.is_causal else 16


def test_encoding(case):
    model, tokenizer, _ = case
    video, theirs = clip(frames_of(model))
    with torch.no_grad():
        moments, encoded = model.encoder(theirs), model.encode(theirs)
    ours = jax.jit(lambda v, x: tokenizer.module.apply(v, x, method="moments"))(tokenizer.variables, video)
    np.testing.assert_allclose(ours, ours_of(moments), atol=ATOL, rtol=0)
    quantized = tokenizer.quantize(ours)
    if model.regularizer == "kl":
        np.testing.assert_allclose(quantized.latents, ours_of(encoded.latent_dist.mode()), atol=ATOL, rtol=0)
        return
    np.testing.assert_array_equal(quantized.indices, encoded[1].numpy())
    np.testing.assert_allclose(quantized.latents, ours_of(encoded[0]), atol=1e-6, rtol=0)
    assert len(np.unique(quantized.indices)) > 10


def test_decoding(case):
    """Theirs drops the first f-1 frames of a causal model when decoding, ours when it knows how long the video was."""
    model, tokenizer, _ = case
    shape = tokenizer.module.latent_shape(frames_of(model), 16, 24)[:3]
    with torch.no_grad():
        if model.regularizer == "kl":
            theirs = torch.randn(1, model.config.z_channels, *shape, generator=torch.Generator().manual_seed(1))
            latents, decoded = ours_of(theirs), model.decode(theirs)
        else:
            latents = np.random.default_rng(1).integers(0, model.config.codebook_size, (1, *shape), np.int32)
            decoded = model.decode(torch.from_numpy(latents), decode_from_indices=True)
    ours = tokenizer.decode(latents)
    dropped = model.temporal_compression_ratio - 1 if model.is_causal else 0
    np.testing.assert_allclose(ours[:, dropped:], ours_of(decoded), atol=ATOL, rtol=0)


def test_reconstruction(case):
    """Both put the same frames in front where the length is one more than a multiple of the time factor."""
    model, tokenizer, _ = case
    video, theirs = clip(1 + model.temporal_compression_ratio if model.is_causal else 16, seed=2)
    with torch.no_grad():
        expected = model(theirs, sample_posterior=False).sample
    np.testing.assert_allclose(tokenizer.reconstruct(video), ours_of(expected), atol=ATOL, rtol=0)


def test_directories_come_back_bit_for_bit(case):
    _, _, folder = case
    assert cli.main(["convert", "vidtok", "--to-diffusers", str(folder / "ours"), "-o", str(folder / "back")]) == 0
    weights = "diffusion_pytorch_model.safetensors"
    assert (folder / "back" / weights).read_bytes() == (folder / "theirs" / weights).read_bytes()
    again = diffusers.AutoencoderVidTok.from_pretrained(folder / "back")
    config = json.loads((folder / "theirs" / "config.json").read_text())
    if config["regularizer"] == "kl":
        del config["codebook_size"]  # which it does not use, and we do not make up
    written = json.loads((folder / "back" / "config.json").read_text())
    assert {key: value for key, value in config.items() if key != "_diffusers_version"} == written
    assert sorted(path.name for path in (folder / "back").iterdir()) == ["config.json", weights]
    assert again.config.z_channels == config["z_channels"]
