import jax
import numpy as np
import pytest
import skimage.data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.transform import downscale_local_mean

from tokjax.evaluation.pixels import psnr, ssim


def channels_last(x):
    """uint8 or float [n,c,h,w] or [b,c,t,h,w] -> float32 [b,t,h,w,c]."""
    x = x / np.float32(255) if x.dtype == np.uint8 else x
    return np.moveaxis(x if x.ndim == 5 else x[:, :, None], 1, -1).astype(np.float32)


def noisy_astronaut(h, w):
    x = skimage.data.astronaut()[:h, :w] / 255
    y = np.clip(x + np.random.default_rng(0).normal(0, 0.05, x.shape), 0, 1)
    return x.astype(np.float32), y.astype(np.float32)


@pytest.mark.parametrize("case", ["smooth64", "video5d", "random", "ident", "const", "float", "pool2a", "pool2b"])
def test_frames_equal_vidtok_in_float64(golden, case):
    data = np.load(golden("metrics/psnr_ssim.npz"))
    x, y = channels_last(data[f"{case}_x"]), channels_last(data[f"{case}_y"])
    assert psnr(x, y).shape == x.shape[:2]
    np.testing.assert_allclose(np.ravel(jax.jit(psnr)(x, y)), data[f"{case}_psnr_frames64"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(np.ravel(jax.jit(ssim)(x, y)), data[f"{case}_ssim_frames64"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", ["m5d", "m4d", "big"])
def test_means_equal_vidtok_in_float32(golden, case):
    data = np.load(golden("vidtok/unit_metrics_data_ema.npz"))
    x, y = channels_last(data[f"in:{case}/a"]), channels_last(data[f"in:{case}/b"])
    assert float(psnr(x, y).mean()) == pytest.approx(float(data[f"out:{case}/psnr"]), abs=1e-4)
    assert float(ssim(x, y).mean()) == pytest.approx(float(data[f"out:{case}/ssim"]), abs=3e-5)


@pytest.mark.parametrize(("h", "w"), [(64, 64), (37, 90), (11, 11)])
def test_equals_scikit_image(h, w):
    x, y = noisy_astronaut(h, w)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 2, "data_range": 1.0}
    expected = structural_similarity(x.astype(np.float64), y.astype(np.float64), **settings)
    assert ssim(x[None, None], y[None, None])[0, 0] == pytest.approx(expected, abs=1e-6)
    # 1e-8 inside the logarithm is 2e-5 dB at this error.
    assert psnr(x[None, None], y[None, None])[0, 0] == pytest.approx(peak_signal_noise_ratio(x, y, data_range=1.0), abs=5e-5)


def test_pooling_drops_what_fills_no_window():
    x, y = noisy_astronaut(387, 391)
    pooled = [downscale_local_mean(image[:386, :390], (2, 2, 1))[None, None] for image in (x, y)]
    assert ssim(x[None, None], y[None, None])[0, 0] == pytest.approx(float(ssim(*pooled)[0, 0]), abs=1e-6)


def test_equal_frames_have_80_db():
    x = np.full((2, 3, 16, 16, 3), 0.3, np.float32)
    np.testing.assert_allclose(psnr(x, x), np.full((2, 3), 80.0), atol=1e-4)
    np.testing.assert_allclose(ssim(x, x), np.ones((2, 3)), atol=1e-6)


def test_small_frames_are_refused():
    x = np.zeros((1, 1, 10, 64, 3), np.float32)
    with pytest.raises(ValueError, match="at least 11 x 11 pixels, and these have 10 x 64"):
        ssim(x, x)


def test_uint8_and_other_shapes_are_refused():
    x = np.zeros((1, 1, 16, 16, 3), np.float32)
    with pytest.raises(ValueError, match="divide uint8 by 255"):
        psnr(x.astype(np.uint8), x)
    with pytest.raises(ValueError, match=r"not \(1, 1, 16, 16, 3\) and \(1, 16, 16, 3\)"):
        psnr(x, x[0])
