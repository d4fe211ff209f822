"""What the sweep files of one paper share: by what its tables score, as values of a row, and what is said of toy rows."""

from __future__ import annotations

TOY_NOTES = ("Toy models on toy data: compare orders, not values.",)

# VidTok, on MCL-JCV: all clips of a video, at 30 frames per second.
VIDTOK_METRICS = ("lpips_vgg16", "fvd_styleganv")
VIDTOK_SCORES = {
    "data.validation.videos.frame_rate": 30.0,
    "data.validation.videos.whole": True,
    "training.evaluation_metrics": VIDTOK_METRICS,
    "training.evaluation_weights": ("data/perceptual_vgg16.npz", "data/i3d.npz"),
}

# OmniTokenizer, on ImageNet and Kinetics-600: rFID and rFVD; beside them what every row measures.
OMNITOKENIZER_PRINTED = ("images/fid_torch", "videos/fvd_omnitokenizer")
OMNITOKENIZER_MEASURED = ("images/psnr", "images/ssim", "videos/psnr", "videos/ssim", "usage")
OMNITOKENIZER_SCORES = {
    "training.evaluation_metrics": ("fid_torch", "fvd_omnitokenizer"),
    "training.evaluation_weights": ("data/inception.npz", "data/i3d.npz"),
}
