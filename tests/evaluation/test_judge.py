import types

import jax.numpy as jnp
import numpy as np
import pytest
from random_perceptual import random_perceptual

from tokjax.evaluation.judge import Judge
from tokjax.evaluation.protocols import ProtocolError
from tokjax.losses.perceptual import lpips
from tokjax.losses.weight_files import PerceptualError


def weights(network, params):
    return types.SimpleNamespace(network=network, about={"digest": "0", "sources": {}}, params=params)


@pytest.mark.slow
def test_lpips_of_every_frame():
    params = random_perceptual("alexnet")
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (2, 2, 35, 33, 3), np.uint8)
    again = rng.uniform(-1.2, 1.2, video.shape).astype(np.float32)
    scores, finite = Judge(("lpips_alexnet", "flicker"), {"alexnet": weights("alexnet", params)}).frames(
        jnp.asarray(again), jnp.asarray(video)
    )
    flat = [one.reshape(-1, *video.shape[2:]) for one in (np.clip(again, -1, 1), (video / 127.5 - 1).astype(np.float32))]
    np.testing.assert_allclose(scores["lpips_alexnet"].ravel(), lpips(params, *flat, "alexnet"), rtol=1e-5)
    assert scores["flicker"].shape == (2, 1) and finite.all()


def test_frames_that_are_too_small_and_weights_that_are_missing():
    judge = Judge(("lpips_alexnet",), {"alexnet": weights("alexnet", random_perceptual("alexnet"))})
    with pytest.raises(ValueError, match="lpips_alexnet needs frames of at least 31 pixels a side"):
        judge.frames(jnp.zeros((1, 1, 16, 16, 3)), jnp.zeros((1, 1, 16, 16, 3), jnp.uint8))
    with pytest.raises(
        PerceptualError, match=r"fid_torch needs the weights of inception: .*--weights.*tokjax convert perceptual"
    ):
        Judge(("psnr", "fid_torch"))
    with pytest.raises(ProtocolError, match="known number of images"):
        Judge(("inception_score",))


def test_uint8_reconstructions_are_scored_like_equal_floats():
    video = np.random.default_rng(0).integers(0, 256, (1, 2, 16, 16, 3), np.uint8)
    again = np.random.default_rng(1).integers(0, 256, video.shape, np.uint8)
    whole, _ = Judge().frames(jnp.asarray(again), jnp.asarray(video))
    floats, _ = Judge().frames(jnp.asarray(again / 127.5 - 1, jnp.float32), jnp.asarray(video))
    for name in ("psnr", "ssim"):
        np.testing.assert_allclose(whole[name], floats[name], rtol=1e-5)


def test_psnr_is_always_known_since_examples_are_picked_by_it():
    video = np.zeros((1, 2, 16, 16, 3), np.uint8)
    scores, _ = Judge(("flicker",)).frames(jnp.zeros(video.shape), jnp.asarray(video))
    assert {name: score.shape for name, score in scores.items()} == {"psnr": (1, 2), "flicker": (1, 1)}
