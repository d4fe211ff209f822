"""Small models for the laptop scale of the sweeps in this folder: each trains in a minute or two on 2 CPU cores.

    tokjax prepare sample --output data/sample
    tokjax train --config experiments/ablations/laptop.py:images --workdir runs/images

They learn from crops of 32x32 of the sample's photographs and clips and are scored on 64x64 of photographs that they have not
seen. One stream a row, since each static shape is compiled apart. What they show is that a sweep runs and which way a choice
leads; their numbers are not those of any paper.
"""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from tokjax.config import defaults, stage, stages, stream
from tokjax.experiment import load_experiment

SAMPLE = "data/sample"
VIDTOK = {"channels": 8, "channel_multipliers": (1, 2, 2), "blocks_per_level": 1, "init": "he", "latent_channels": 4}
OMNITOKENIZER = Path(__file__).parents[1] / "omnitokenizer.py"
NARROW = {"width": 64, "head_width": 16, "patch": 4, "latent_channels": 8, "quantizer": {"codebook_size": 256}}


def get_config(variant: str = "images") -> ConfigDict:
    config = defaults("omnitokenizer" if variant.startswith("omnitokenizer") else "vidtok")
    config.name = f"laptop_{variant}"
    config.loss.update({"reconstruction": "l2", "reduction": "mean", "reconstruction_weight": 4.0, "regularization_weight": 1.0})
    config.optimizer.update({"schedule": "cosine", "warmup_steps": 20, "b2": 0.99, "clip_norm": 1.0, "learning_rate": 2e-3})
    config.training.update({"steps": 300, "log_every": 25, "evaluate_every": 150, "checkpoint_every": 100})
    VARIANTS[variant](config)
    return config


def _images(config: ConfigDict) -> None:
    """4x4 to a latent."""
    config.model.update(VIDTOK | {"time_factor": 2, "time_down": (1,), "time_up": (2,)})
    _add_images(config)
    config.training.update({"steps": 240, "evaluate_every": 120})


def _clips(config: ConfigDict) -> None:
    """2x4x4 to a latent."""
    config.model.update(VIDTOK | {"time_factor": 2, "time_down": (1,), "time_up": (2,)})
    config.loss.regularization_weight = 1e-6
    _add_clips(config, frames=5, batch=6)


def _suite(config: ConfigDict) -> None:
    """Four levels, so that time and space shrink as in the published models."""
    config.model.update(VIDTOK | {"channels": 4, "channel_multipliers": (1, 2, 4, 4), "time_factor": 4})
    config.loss.regularization_weight = 1e-6
    _add_clips(config, frames=9, batch=4)
    config.training.steps = 200


def _two_stages(config: ConfigDict) -> None:
    """Small crops, then large ones with a frozen encoder."""
    _clips(config)
    config.stages = stages(
        stage("small", data={"train": {"videos": {"resolution": 16}}}, training={"steps": 200}),
        stage("large", optimizer={"freeze": ("encoder",)}, training={"steps": 100}),
    )


def _omnitokenizer(config: ConfigDict) -> None:
    """The model of experiments/omnitokenizer.py:tiny, narrower, with smaller patches and fewer codes."""
    config.model = load_experiment(f"{OMNITOKENIZER}:tiny").model
    config.model.update(NARROW)


def _omnitokenizer_images(config: ConfigDict) -> None:
    _omnitokenizer(config)
    _add_images(config)
    _add_validation_clips(config)


def _omnitokenizer_joint(config: ConfigDict) -> None:
    _omnitokenizer_images(config)
    _add_clips(config, frames=5, batch=8)


def _omnitokenizer_staged(config: ConfigDict) -> None:
    """Images, then both."""
    _omnitokenizer_joint(config)
    config.stages = stages(
        stage("images", data={"train": {"videos": {"weight": 0.0}}}, training={"steps": 150}),
        stage("joint", inflate="sound", training={"steps": 150}),
    )


def _omnitokenizer_three_stages(config: ConfigDict) -> None:
    """Images, both, and both with continuous latents."""
    _omnitokenizer_joint(config)
    continuous = {"model": {"quantizer": {"name": "kl"}}, "loss": {"regularization_weight": 1e-6}}
    config.stages = stages(
        stage("images", data={"train": {"videos": {"weight": 0.0}}}, training={"steps": 100}),
        stage("joint", inflate="sound", training={"steps": 100}),
        stage("kl", training={"steps": 100}, **continuous),
    )


def _omnitokenizer_kl(config: ConfigDict) -> None:
    _omnitokenizer_joint(config)
    config.model.quantizer.name = "kl"
    config.loss.regularization_weight = 1e-6


def _add_images(config: ConfigDict) -> None:
    config.data.train.images = _stream("images", "train", batch=8)
    config.data.validation.images = _stream("images", "validation", batch=8, resolution=64, crop="centre", flip=False)


def _add_clips(config: ConfigDict, frames: int, batch: int) -> None:
    config.data.train.videos = _stream("videos", "train", batch=batch, frames=frames)
    _add_validation_clips(config, frames)


def _add_validation_clips(config: ConfigDict, frames: int = 5) -> None:
    scored = {"batch": 4, "resolution": 64, "crop": "centre", "flip": False}
    config.data.validation.videos = _stream("videos", "validation", frames=frames, **scored)


def _stream(kind: str, split: str, **changes: Any) -> ConfigDict:
    table = f"{SAMPLE}/{split}/videos.csv" if kind == "videos" else ""
    place = {"table": table, "short_side": 320, "resolution": 32}
    return stream(kind, f"{SAMPLE}/{split}/{kind}", **(place | changes))


VARIANTS = {
    "images": _images,
    "clips": _clips,
    "two_stages": _two_stages,
    "suite": _suite,
    "omnitokenizer_images": _omnitokenizer_images,
    "omnitokenizer_joint": _omnitokenizer_joint,
    "omnitokenizer_staged": _omnitokenizer_staged,
    "omnitokenizer_three_stages": _omnitokenizer_three_stages,
    "omnitokenizer_kl": _omnitokenizer_kl,
}
