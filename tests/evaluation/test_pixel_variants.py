import numpy as np
import pytest
import skimage.data
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity

from tokjax.evaluation.pixel_variants import flicker, psnr_capped, ssim_luma, ssim_uniform, ssim_unpooled


def pair(h=40, w=53, t=1):
    x = skimage.data.astronaut()[:h, :w] / 255
    noise = np.random.default_rng(0).normal(0, 0.05, (t, *x.shape))
    x = np.broadcast_to(x, noise.shape)
    return x.astype(np.float32), np.clip(x + noise, 0, 1).astype(np.float32)


def channels_last(x):
    x = x / np.float32(255) if x.dtype == np.uint8 else x
    return np.moveaxis(x if x.ndim == 5 else x[:, :, None], 1, -1).astype(np.float32)


@pytest.mark.parametrize("case", ["smooth64", "video5d", "random", "ident", "const", "float", "pool2a", "pool2b"])
def test_the_folder_beside_omnitokenizer(golden, case):
    """No pooling, and 100 dB for equal frames."""
    data = np.load(golden("metrics/psnr_ssim.npz"))
    x, y = channels_last(data[f"{case}_x"]), channels_last(data[f"{case}_y"])
    np.testing.assert_allclose(np.ravel(psnr_capped(x, y)), data[f"{case}_cv2_psnr_frames"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(np.ravel(ssim_unpooled(x, y)), data[f"{case}_cv2_ssim_frames"], rtol=0, atol=3e-5)


def test_scikit_images_default():
    x, y = pair()
    expected = structural_similarity(x[0].astype(np.float64), y[0].astype(np.float64), channel_axis=2, data_range=1.0)
    assert ssim_uniform(x[None], y[None])[0, 0] == pytest.approx(expected, abs=1e-5)


def test_grey():
    x, y = pair()
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = structural_similarity(rgb2gray(x[0].astype(np.float64)), rgb2gray(y[0].astype(np.float64)), **settings)
    assert ssim_luma(x[None], y[None])[0, 0] == pytest.approx(expected, abs=1e-5)


def test_flicker_is_the_error_of_changes():
    x, y = pair(t=3)
    expected = np.abs(np.diff(x.astype(np.float64), axis=0) - np.diff(y.astype(np.float64), axis=0)).mean((1, 2, 3))
    np.testing.assert_allclose(flicker(x[None], y[None])[0], expected, rtol=1e-5)
    np.testing.assert_allclose(flicker(x[None], x[None] * 0 + 0.5 + x[None] * 0), np.zeros((1, 2)), atol=1e-7)  # both stand still
    assert flicker(x[None, :1], y[None, :1]).shape == (1, 0)
