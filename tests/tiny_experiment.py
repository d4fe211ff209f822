"""A run small enough for tests: `write_data(folder)` makes its images and videos, `get_config()` trains on them.

`tokjax train --config tests/tiny_experiment.py` finds the data where it is started.
"""

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from tokjax.config import defaults, stage, stages, stream
from tokjax.data.decode import write_image, write_video

IMAGES, VIDEOS = 12, 6


def write_data(folder: Path) -> Path:
    """Smooth coloured pictures, and videos in which they move."""
    rng = np.random.default_rng(0)
    for name in ("images", "videos"):
        (folder / name).mkdir(parents=True)
    for number in range(IMAGES):
        write_image(folder / "images" / f"{number:02d}.jpg", _picture(rng))
    for number in range(VIDEOS):
        picture = _picture(rng)
        write_video(folder / "videos" / f"{number}.mp4", [np.roll(picture, shift, axis=1) for shift in range(6)], fps=8)
    return folder


def _picture(rng: np.random.Generator) -> np.ndarray:
    """uint8 [20,24,3]: a wave of one colour on another."""
    y, x = np.mgrid[:20, :24]
    wave = np.sin(x * rng.uniform(0.1, 0.4) + y * rng.uniform(0.1, 0.4) + rng.uniform(0, 6))[..., None] / 2 + 0.5
    one, other = rng.uniform(0, 255, (2, 3))
    return (wave * one + (1 - wave) * other).astype(np.uint8)


def get_config(variant: str = "joint") -> ConfigDict:
    config = defaults()
    config.name = f"tiny {variant}"
    config.model.update(
        {"channels": 4, "channel_multipliers": (1, 1), "blocks_per_level": 1, "latent_channels": 2, "time_factor": 2}
    )
    config.model.init = "he"
    config.optimizer.update({"learning_rate": 1e-2, "warmup_steps": 2, "ema_decay": 0.9})
    config.training.update({"steps": 24, "log_every": 1, "evaluate_every": 1000, "checkpoint_every": 3})
    VARIANTS[variant](config)
    return config


def _joint(config: ConfigDict) -> None:
    """Images and clips, and clips held out."""
    config.data.train.images = stream("images", "images", batch=4, resolution=16)
    config.data.train.videos = stream("videos", "videos", batch=4, frames=3, resolution=16, weight=0.5)
    config.data.validation.videos = stream("videos", "videos", batch=4, frames=3, resolution=16, crop="centre", flip=False)


def _stills(config: ConfigDict) -> None:
    """Images and single frames of the videos: two streams, but one step to compile."""
    config.data.train.images = stream("images", "images", batch=4, resolution=16)
    config.data.train.frames = stream("videos", "videos", batch=4, resolution=16, weight=0.5)


def _wide(config: ConfigDict) -> None:
    """Kernels large enough to be split over devices."""
    config.model.channels = 32
    config.data.train.videos = stream("videos", "videos", batch=8, frames=3, resolution=16)
    config.optimizer.learning_rate = 1e-3
    config.training.update({"steps": 6, "checkpoint_every": 2, "keep_checkpoints": 9})


def _staged(config: ConfigDict) -> None:
    """Small pictures, then larger ones with a frozen encoder, then codes in place of continuous latents."""
    _stills(config)
    config.data.train.frames.weight = 0.0
    config.data.validation.images = stream("images", "images", batch=4, resolution=16, crop="centre", flip=False)
    small = {"train": {"images": {"resolution": 8}}, "validation": {"images": {"resolution": 12}}}
    codes = {"quantizer": {"name": "vq", "codebook_size": 16, "ema_decay": 0.9, "codebook_weight": 0.0}}
    config.stages = stages(
        stage("small", data=small, training={"steps": 5}),
        stage("large", data={"train": {"frames": {"weight": 0.5}}}, optimizer={"freeze": ("encoder",)}, training={"steps": 8}),
        stage("codes", model=codes, fresh=("decoder/conv_out",), training={"steps": 5}),
    )


def _codes(config: ConfigDict) -> None:
    """A small transformer whose codebook follows its vectors; quick to compile."""
    config.model = defaults("omnitokenizer").model
    config.model.update({"mode": "sound", "width": 16, "heads": 2, "head_width": 8, "patch": 4, "time_factor": 2})
    config.model.update({"encoder_blocks": "t", "decoder_blocks": "t", "temporal_depth": 1, "latent_channels": 4})
    config.model.quantizer.update({"name": "vq", "codebook_size": 16, "ema_decay": 0.9, "codebook_weight": 0.0})
    config.model.quantizer.update({"data_init": True, "restart_threshold": 0.1})
    config.data.train.images = stream("images", "images", batch=4, resolution=16)
    config.training.steps = 6


def _judged(config: ConfigDict) -> None:
    """A discriminator in two stages: it and the optimizers go on, then it begins anew."""
    _codes(config)
    config.discriminator.update({"kind": "omni_image", "width": 4, "layers": 1})
    config.loss.update({"reduction": "mean", "adversarial_weight": 0.1, "adaptive": True, "lecam_weight": 0.1})
    config.loss.log_variance = True
    config.stages = stages(
        stage("first", training={"steps": 4}),
        stage("on", keep_optimizer=True, training={"steps": 4}),
        stage("anew", fresh=("discriminator/params",), training={"steps": 1}),
    )


def _mixed(config: ConfigDict) -> None:
    """That transformer, on images and single frames of the videos."""
    steps = config.training.steps
    _codes(config)
    _stills(config)
    config.training.steps = steps


def _generator(config: ConfigDict, family: str, **model: object) -> None:
    """A model of the tokens in the folder `cache`, which is not there yet, of images 16x16 by the tokenizer of tiny_tokenizer."""
    config.model, config.mesh = (getattr(defaults(family), section) for section in ("model", "mesh"))
    config.model.update({"grid": (1, 8, 8), "width": 16, "depth": 2, "heads": 2, **model})
    config.data.train.tokens = stream("tokens", "cache", batch=4)
    config.optimizer.learning_rate = 1e-3


def _language(config: ConfigDict) -> None:
    _generator(config, "language_model", codes=20)


def _diffusion(config: ConfigDict) -> None:
    _generator(config, "diffusion", channels=2)


VARIANTS = {"joint": _joint, "judged": _judged, "stills": _stills, "wide": _wide, "staged": _staged, "codes": _codes}
VARIANTS |= {"mixed": _mixed, "language": _language, "diffusion": _diffusion}


def config_in(data: Path, variant: str = "joint") -> ConfigDict:
    """The config with the paths of `write_data(data)`."""
    config = get_config(variant)
    for streams in (config.data.train, config.data.validation):
        for one in streams.values():
            one.path = str(data / one.path)
    return config
