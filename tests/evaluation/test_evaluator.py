import json
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import QUICK
from skimage.metrics import structural_similarity

from tokjax.evaluation.evaluator import PICTURES_PER_STREAM, evaluate

ROOT = Path(__file__).parents[2]


def clips(count, frames, seed=0):
    """Smooth random videos, uint8 [count,frames,16,20,3]."""
    noise = np.random.default_rng(seed).uniform(0, 256, (count, frames, 4, 5, 3))
    return np.kron(noise, np.ones((1, 1, 4, 4, 1))).astype(np.uint8)


def spoiled(video):
    """A reconstruction that differs by frame and leaves -1..1 in places."""
    video = video / np.float32(127.5) - 1
    wave = 0.2 * np.sin(np.arange(video[0].size).reshape(video[0].shape))
    return (video * 1.1 + wave * np.arange(1, video.shape[1] + 1)[:, None, None, None] / 5).astype(np.float32)


def reconstruct(video):
    return jnp.asarray(spoiled(video)), jnp.asarray(video[:, :, ::8, ::8, 0], jnp.int32) % 50


def expected_scores(video):
    """PSNR and SSIM [b,t] in float64, from their definitions."""
    x = (np.clip(spoiled(video).astype(np.float64), -1, 1) + 1) / 2
    y = video / 255.0
    psnr = -10 * np.log10(((x - y) ** 2).mean((2, 3, 4)) + 1e-8)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 2, "data_range": 1.0}
    ssim = [[structural_similarity(a, b, **settings) for a, b in zip(c, d, strict=True)] for c, d in zip(x, y, strict=True)]
    return psnr, np.array(ssim)


def batched(video, size):
    """Batches of `size`; the last is filled with garbage that is not valid."""
    for start in range(0, len(video), size):
        part = video[start : start + size]
        fill = np.zeros((size - len(part), *part.shape[1:]), np.uint8)
        ids = [f"clip{start + i}" for i in range(len(part))] + ["fill"] * len(fill)
        yield ids, np.concatenate([part, fill]), np.arange(size) < len(part)


def test_scores_are_means_over_all_valid_frames():
    images, videos = clips(3, 1), clips(5, 4, seed=1)
    result, _ = evaluate(reconstruct, {"images": batched(images, 2), "videos": batched(videos, 2)}, codebook_size=50)
    for name, video in (("images", images), ("videos", videos)):
        psnr, ssim = expected_scores(video)
        one = result["streams"][name]
        assert (one["clips"], one["frames"]) == (*psnr.shape[:1], psnr.size)
        assert one["psnr"] == pytest.approx(psnr.mean(), abs=2e-5)
        assert one["ssim"] == pytest.approx(ssim.mean(), abs=2e-6)
        np.testing.assert_allclose(one["psnr_per_frame"], psnr.mean(0), atol=2e-5)
    assert json.loads(json.dumps(result)) == result


def test_codes_are_counted_by_stream_and_over_all():
    images, videos = clips(3, 1), clips(5, 4, seed=1)
    result, _ = evaluate(reconstruct, {"images": batched(images, 2), "videos": batched(videos, 2)}, codebook_size=50)
    codes = {name: np.asarray(reconstruct(video)[1]).ravel() for name, video in (("images", images), ("videos", videos))}
    codes["all"] = np.concatenate([codes["images"], codes["videos"]])
    found = {name: one["codebook"] for name, one in result["streams"].items()} | {"all": result["codebook"]}
    for name, values in codes.items():
        _, counts = np.unique(values, return_counts=True)
        p = counts / counts.sum()
        assert found[name]["codes_counted"] == values.size
        assert found[name]["dead_codes"] == 50 - len(counts)
        assert found[name]["usage"] == pytest.approx(len(counts) / 50)
        assert found[name]["perplexity"] == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-7)


def test_every_codebook_is_counted_by_itself():
    """The first uses 2 of its 4 codes evenly, the second 1, which has the index of one of those."""
    codes = np.zeros((2, 1, 2, 2, 2), np.int32)
    codes[:, :, 0, :, 0] = 3
    given = {"s": batched(clips(2, 1), 2)}
    result, _ = evaluate(lambda video: (reconstruct(video)[0], jnp.asarray(codes)), given, codebook_size=4)
    found = result["codebook"]
    assert (found["codebooks"], found["size"], found["codes_counted"], found["dead_codes"]) == (2, 4, 16, 2 + 3)
    assert found["usage"] == (2 / 4 + 1 / 4) / 2
    assert found["perplexity"] == pytest.approx((2 + 1) / 2) and found["entropy_bits"] == pytest.approx(0.5, abs=1e-6)


def test_without_a_codebook():
    result, _ = evaluate(reconstruct, {"images": batched(clips(2, 1), 2)})
    assert result["codebook"] is None
    assert result["streams"]["images"]["codebook"] is None


def test_clips_of_several_lengths():
    short, long = clips(1, 2), clips(1, 3, seed=1)
    result, _ = evaluate(reconstruct, {"mixed": [*batched(short, 1), *batched(long, 1)]})
    a, b = expected_scores(short)[0][0], expected_scores(long)[0][0]
    one = result["streams"]["mixed"]
    assert one["psnr"] == pytest.approx((a.sum() + b.sum()) / 5, abs=2e-5)
    np.testing.assert_allclose(one["psnr_per_frame"], [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2, b[2]], atol=2e-5)


def test_pictures_are_the_first_valid_clips():
    video = clips(PICTURES_PER_STREAM + 2, 2)
    _, pictures = evaluate(reconstruct, {"a": batched(video, 3), "b": batched(video[:1], 3)})
    names = [picture.name for picture in pictures]
    assert names == [f"a / clip{i}" for i in range(PICTURES_PER_STREAM)] + ["b / clip0"]
    for picture, original in zip(pictures, [*video[:PICTURES_PER_STREAM], video[0]], strict=True):
        np.testing.assert_array_equal(picture.original, original)
        expected = np.clip(np.round((spoiled(original[None])[0].astype(np.float64) + 1) * 127.5), 0, 255)
        assert picture.reconstruction.dtype == np.uint8
        assert np.abs(picture.reconstruction - expected).max() <= 1  # float32 may round a half the other way
        assert (picture.reconstruction == expected).mean() > 0.99


def test_progress_counts_valid_clips_over_all_streams():
    done = []
    evaluate(reconstruct, {"a": batched(clips(3, 1), 2), "b": batched(clips(1, 1), 2)}, progress=done.append)
    assert done == [2, 3, 4]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_reconstruction_that_is_not_finite_is_named(value):
    def broken(video):
        return jnp.asarray(spoiled(video)).at[1, 0, 3, 3, 0].set(value), None

    with pytest.raises(ValueError, match=r"stream 'videos': the reconstruction of clip 'clip1' holds values that are not finite"):
        evaluate(broken, {"videos": batched(clips(3, 2), 3)})
    result, _ = evaluate(broken, {"videos": batched(clips(1, 2), 3)})  # row 1 only fills the batch here
    assert np.isfinite(result["streams"]["videos"]["psnr"])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda video: (jnp.zeros((2, 1, 16, 16, 3)), None), r"videos \(2, 1, 16, 20, 3\) came back as \(2, 1, 16, 16, 3\)"),
        (lambda video: (reconstruct(video)[0], None), "codebook of 50 was announced"),
        (lambda video: (reconstruct(video)[0], jnp.array([[[[50, -1]]], [[[0, 1]]]])), r"2 codes lie outside 0..49"),
    ],
)
def test_wrong_reconstructions_are_refused(function, message):
    with pytest.raises(ValueError, match=f"stream 's': .*{message}"):
        evaluate(function, {"s": batched(clips(2, 1), 2)}, codebook_size=50)


def test_an_empty_stream_is_refused():
    with pytest.raises(ValueError, match="stream 'none' has no clips"):
        evaluate(reconstruct, {"none": []})


SHARDED = """
import json, sys
import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
sys.path[:0] = ["tests", "tests/evaluation"]
from test_evaluator import batched, clips, evaluate, reconstruct
assert jax.device_count() == 4
mesh = Mesh(jax.devices(), "data")
place = NamedSharding(mesh, PartitionSpec("data"))
scores = evaluate(lambda video: jax.device_put(reconstruct(video), place), {"s": batched(clips(6, 2), 4)}, codebook_size=50)
print(json.dumps(scores[0]))
"""


@pytest.mark.slow
def test_a_sharded_reconstruction_scores_the_same():
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count=4 {QUICK}",
        "PYTHONPATH": str(ROOT),
    }
    run = subprocess.run([sys.executable, "-c", SHARDED], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    sharded = json.loads(run.stdout)
    single, _ = evaluate(reconstruct, {"s": batched(clips(6, 2), 4)}, codebook_size=50)
    for key in ("psnr", "ssim"):
        assert sharded["streams"]["s"][key] == pytest.approx(single["streams"]["s"][key], rel=1e-6)
    assert sharded["codebook"] == single["codebook"]
