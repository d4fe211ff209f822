"""VidTok (Tang et al., arXiv 2412.13061): the causal v1.0 models of Table 5, one row each.

    tokjax train --config experiments/vidtok.py:kl_causal_488_4chn --workdir runs/kl_causal_488_4chn

Data: a folder of videos with `train.csv` and `validation.csv` (column `videos`) at `--config.data.train.video.path` and
`--config.data.validation.videos.path`. Hardware of the paper: A100, 3,072 GPU hours at 256x256, or 1,536 in two stages.

A name reads regularizer, causality, compression of time and of both sides, and latent channels or codebook size. The quality
below is the paper's (MCL-JCV, 17x256x256 at 30 frames per second), reached with losses that this version does not train with yet
(LPIPS and a discriminator); nothing of it has been measured here. Parameter counts and latent shapes are checked by our tests.
"""

from typing import Any, NamedTuple

from ml_collections import ConfigDict

from tokjax.config import defaults, stream


class Row(NamedTuple):
    """What differs between models, and the paper's PSNR / SSIM / LPIPS / FVD."""

    model: dict[str, Any]
    paper: tuple[float, float, float, float]


def _kl(channels: int, **model: Any) -> dict[str, Any]:
    return {"latent_channels": channels, "quantizer": {"name": "kl"}, **model}


def _fsq(channels: int, **model: Any) -> dict[str, Any]:
    return {"latent_channels": channels, "quantizer": {"name": "fsq", "levels": (8,) * channels}, **model}


_16 = {"channel_multipliers": (1, 2, 4, 4, 4)}

VARIANTS = {
    "kl_causal_488_4chn": Row(_kl(4), (29.64, 0.852, 0.114, 194.2)),
    "kl_causal_488_8chn": Row(_kl(8), (31.83, 0.897, 0.083, 109.3)),
    "kl_causal_488_16chn": Row(_kl(16), (35.04, 0.942, 0.047, 78.9)),
    "kl_causal_41616_4chn": Row(_kl(4, **_16), (25.05, 0.711, 0.228, 549.1)),
    "kl_causal_444_4chn": Row(_kl(4, spatial_down=(1, 2), spatial_up=(1, 2)), (34.78, 0.941, 0.051, 87.2)),
    "kl_causal_288_8chn": Row(_kl(8, time_factor=2, time_down=(1,), time_up=(2,)), (33.86, 0.928, 0.057, 80.7)),
    "fsq_causal_488_4096": Row(_fsq(4), (28.36, 0.832, 0.133, 218.1)),
    "fsq_causal_488_32768": Row(_fsq(5), (29.16, 0.854, 0.117, 196.9)),
    "fsq_causal_488_262144": Row(_fsq(6), (29.82, 0.867, 0.106, 160.1)),
    "fsq_causal_41616_262144": Row(_fsq(6, **_16), (25.38, 0.738, 0.206, 430.1)),
}


def get_config(variant: str = "kl_causal_488_4chn") -> ConfigDict:
    config = defaults()
    config.name = f"vidtok_{variant}"
    config.model.update(VARIANTS[variant].model)
    clip = {"frames": 17, "resolution": 256, "batch": 16, "crop": "centre", "flip": False, "frame_rule": "vidtok"}
    config.data.train.video = stream("videos", "data/videos", table="data/videos/train.csv", frame_rate=3.0, **clip)
    config.data.validation.videos = stream("videos", "data/videos", table="data/videos/validation.csv", frame_rate=8.0, **clip)
    config.data.workers = 12
    config.model.dtype = "bfloat16"
    config.model.remat = True
    config.optimizer.learning_rate = 1e-5
    config.training.update({"steps": 50_000, "evaluate_every": 2_000, "checkpoint_every": 2_500})
    return config
