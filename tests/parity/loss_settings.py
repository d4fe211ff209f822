"""What parity tests of losses share: the settings that both originals have in common, and a comparison."""

import numpy as np

SETTINGS = {
    "reconstruction": "l1",
    "reconstruction_weight": 1.0,
    "laplace_weight": 0.0,
    "reduction": "frame",
    "perceptual_network": "vgg16",
    "perceptual_range": 1.0,
    "image_weight": 1.0,
    "video_weight": 1.0,
    "lecam_weight": 0.0,
}


def near(ours, theirs, rtol=1e-4, atol=1e-6):
    np.testing.assert_allclose(np.asarray(ours, np.float64), np.asarray(theirs, np.float64), rtol=rtol, atol=atol)
