"""A small but real VidTok, trained on photographs and videos together in a few minutes on 2 CPU cores.

    tokjax prepare sample --output data/sample
    tokjax train --config experiments/quickstart.py --workdir runs/quickstart

All parts of the published model at a 16th of its width and one pair of blocks a level: 2x8x8 compression, KL, 4 channels. That
is 48 pixel values per latent value for an image and 80 for a clip of 5 frames. It learns from crops of 32x32 and is scored on
64x64, on photographs it has not seen. Expected: README.md, section "What works today", measured.
"""

from typing import Any

from ml_collections import ConfigDict

from tokjax.config import defaults, stream

SAMPLE = "data/sample"


def get_config() -> ConfigDict:
    config = defaults()
    config.name = "quickstart"
    config.model.update({"channels": 8, "channel_multipliers": (1, 2, 4, 8), "blocks_per_level": 1, "init": "he"})
    config.model.update({"latent_channels": 4, "time_factor": 2, "time_down": (2,), "time_up": (3,)})
    config.data.train.image = _images("train", batch=6, resolution=32)
    config.data.train.video = _videos("train", batch=4, resolution=32)
    config.data.validation.images = _images("validation", batch=8, resolution=64, crop="centre", flip=False)
    config.data.validation.videos = _videos("validation", batch=4, resolution=64, crop="centre", flip=False)
    config.optimizer.update({"learning_rate": 6e-4, "schedule": "cosine", "warmup_steps": 20, "b2": 0.99, "clip_norm": 500.0})
    config.loss.reconstruction = "l2"  # PSNR is what it is scored by
    config.training.update({"steps": 700, "log_every": 50, "evaluate_every": 350, "checkpoint_every": 200})
    return config


def _images(split: str, **changes: Any) -> ConfigDict:
    return stream("images", f"{SAMPLE}/{split}/images", short_side=320, **changes)


def _videos(split: str, **changes: Any) -> ConfigDict:
    table = f"{SAMPLE}/{split}/videos.csv"
    return stream("videos", f"{SAMPLE}/{split}/videos", table=table, short_side=320, frames=5, **changes)
