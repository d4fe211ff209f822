"""Rows of the OmniTokenizer sweeps that are no rows of experiments/omnitokenizer.py.

tokjax train --config experiments/ablations/omnitokenizer_rows.py:images_then_joint --workdir runs/images_then_joint
"""

from pathlib import Path

from ml_collections import ConfigDict

from tokjax.config import stages
from tokjax.experiment import load_experiment

EXPERIMENTS = Path(__file__).parents[1] / "omnitokenizer.py"


def get_config(variant: str = "images_then_joint") -> ConfigDict:
    """Scored on images and on clips alike; `images_only` is the joint model whose clips have weight 0."""
    config = load_experiment(
        f"{EXPERIMENTS}:{'three_stages' if variant in ('images_then_joint', 'three_stages') else 'joint_vq'}"
    )
    images = load_experiment(f"{EXPERIMENTS}:image_only")
    config.data.validation.images = images.data.validation.images
    VARIANTS[variant](config)
    config.name = f"omnitokenizer_{variant}"
    return config


def _images_only(config: ConfigDict) -> None:
    """As the first stage of the recipe, but with the patches of the joint model, so that it can be scored on clips."""
    for name, one in config.data.train.items():
        one.weight = 1.0 if name == "image_256" else 0.0
    config.discriminator.kind = "omni_image"
    config.training.batches_per_update = 1


def _joint(config: ConfigDict) -> None:
    """Images and clips from the start."""


def _images_then_joint(config: ConfigDict) -> None:
    """The first two stages of the recipe."""
    config.stages = stages(*list(config.stages.values())[:2])


def _three_stages(config: ConfigDict) -> None:
    """The whole recipe, which ends with continuous latents."""


def _joint_kl(config: ConfigDict) -> None:
    config.model.quantizer.name = "kl"
    config.loss.regularization_weight = 1e-6


VARIANTS = {
    "images_only": _images_only,
    "joint": _joint,
    "images_then_joint": _images_then_joint,
    "three_stages": _three_stages,
    "joint_kl": _joint_kl,
}
