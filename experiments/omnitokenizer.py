"""OmniTokenizer (Wang et al., arXiv 2406.09399): its three stages, one row each, and a small model for a CPU.

    tokjax train --config experiments/omnitokenizer.py:image_only --workdir runs/omnitokenizer_images
    tokjax train --config experiments/omnitokenizer.py:joint_vq --workdir runs/omnitokenizer_joint
    tokjax train --config experiments/omnitokenizer.py:joint_kl --workdir runs/omnitokenizer_kl
    tokjax train --config experiments/omnitokenizer.py:three_stages --workdir runs/omnitokenizer
    tokjax train --config experiments/omnitokenizer.py:tiny --workdir runs/omnitokenizer_tiny

The recipe of the published code, for 32 GPUs (A100 in the paper), 500,000 batches a stage:

  image_only  images 256x256, 256 a batch; Adam (0.5, 0.9), clipping at 1, learning rate 1e-3 to 5e-5 by half a cosine, the first
              50,000 batches rising from 0; 4 x L1 + 4 x LPIPS + 0.01 x image GAN + 4 x feature matching + commitment.
  joint_vq    starts from image_only with inflated patches (tokjax.training.carry_over); video batches of 128 clips of 17 frames
              at their own frame rate and image batches of 256 in turn, gradients of two batches added for each update; sides of
              128, 192, 256 and 320, drawn anew for each batch; learning rate 5e-5; 0.01 x video GAN, no image GAN.
  joint_kl    starts from joint_vq, with new layers before the latents; 1e-6 x KL divergence in place of commitment.

The discriminators learn at a tenth of the rates, warming up all the while, and rest where their loss is below 1e-3; LPIPS sees
half the contrast that it was trained on; both are as published. LPIPS reads data/perceptual_vgg16.npz, which
`tokjax convert perceptual --vgg16 vgg16.pth --lpips vgg.pth -o data/perceptual_vgg16.npz` makes once.

`three_stages` is the whole recipe in one run; the other rows are its stages alone, joint_vq and joint_kl from scratch unless
`--config.start_from` names a tokenizer of the same shape.

Differences here: both players learn from one forward pass, without the published order of updates in which the discriminators
hardly learn (`--config.training.mode=published` brings it back, see tokjax.training.published); streams are drawn at random, not
strictly in turn; patches are inflated without the published mistakes (tokjax.training.carry_over); frames are resized by their
shorter side and cropped, where the original squashes them to a square; and the codebook is taken from data once, where the
original takes it anew with every run.

Data: a folder tree of images at `--config.data.train.image_256.path` and a folder of videos with a table at
`--config.data.train.video_256.path`, and so on for each stream. The quality in a row is that of the authors' README: rFID on
ImageNet, 256x256, and rFVD on Kinetics-600, 17x256x256; nothing of it has been measured here. Parameter counts are checked by our
tests.
"""

from typing import Any, NamedTuple

from ml_collections import ConfigDict

from tokjax.config import defaults, stage, stages, stream

SIDES = (128, 192, 256, 320)
SAMPLE = "data/sample"


class Row(NamedTuple):
    """What differs between models, and the authors' rFID and rFVD."""

    model: dict[str, Any]
    authors: tuple[float | None, float | None]


def _codes(count: int) -> dict[str, Any]:
    return {
        "name": "vq",
        "codebook_size": count,
        "l2_codes": True,
        "ema_decay": 0.99,
        "codebook_weight": 0.0,
        "commitment_weight": 0.25,
        "data_init": True,
    }


IMAGE_MODEL = {"time_factor": 2, "position": "relative", "attention": "explicit", "init": "vit"}
VARIANTS = {
    # The released imagenet_only.ckpt.
    "image_only": Row({**IMAGE_MODEL, "quantizer": _codes(8192)}, (1.28, None)),
    # imagenet_k600.ckpt
    "joint_vq": Row({"quantizer": _codes(8192)}, (1.23, 25.97)),
    # imagenet_k600_vae.ckpt
    "joint_kl": Row({"quantizer": {"name": "kl"}}, (0.78, 13.02)),
    # All three, one after the other; the model here is that of the first.
    "three_stages": Row({**IMAGE_MODEL, "quantizer": _codes(8192)}, (None, None)),
    # Causal in time, 2x8x8 to a code of 512. Few steps do not teach a model the brightness that "linear" patches lose.
    "tiny": Row(
        {
            "mode": "sound",
            "embedding": "plain",
            "width": 128,
            "heads": 4,
            "head_width": 32,
            "time_factor": 2,
            "encoder_blocks": "tw",
            "decoder_blocks": "wt",
            "temporal_depth": 1,
            "window": 4,
            "init": "vit",
            "quantizer": _codes(512) | {"restart_threshold": 0.05},
        },
        (None, None),
    ),
}


def get_config(variant: str = "joint_vq") -> ConfigDict:
    config = defaults("omnitokenizer")
    config.name = f"omnitokenizer_{variant}"
    config.model.update(VARIANTS[variant].model)
    recipes = {"image_only": _image_only, "joint_vq": _joint, "joint_kl": _joint, "three_stages": _three_stages, "tiny": _tiny}
    recipes[variant](config)
    if variant == "joint_kl":
        config.loss.regularization_weight = 1e-6
    return config


ADAM = {"b1": 0.5, "b2": 0.9, "clip_norm": 1.0, "schedule": "omnitokenizer"}
LOSS = {
    "reduction": "mean",
    "reconstruction_weight": 4 / 2,  # 4 in a range of pixels that is half as wide
    "regularization_weight": 1.0,
    "perceptual_weight": 4.0,
    "perceptual_range": 0.5,
    "perceptual_weights_file": "data/perceptual_vgg16.npz",
    "frames": "one",
    "adversarial_weight": 1.0,
    "image_weight": 0.01,
    "video_weight": 0.01,
    "feature_matching_weight": 4.0,
}
FIRST_RATES = {"learning_rate": 1e-3, "learning_rate_min": 5e-5, "warmup_steps": 50_000}
LATER_RATES = {"learning_rate": 5e-5, "learning_rate_min": 5e-5, "warmup_steps": 50_000}
STEPS = 500_000


def _judges_rates(rates: dict[str, float]) -> dict[str, float]:
    """A tenth, reached at the very end."""
    return {key: rates[key] / 10 for key in ("learning_rate", "learning_rate_min")} | {"warmup_steps": STEPS}


def _published(config: ConfigDict, rates: dict[str, float], judge: str) -> None:
    """What all stages share."""
    config.model.update({"dtype": "bfloat16", "remat": True})
    config.loss.update(LOSS)
    config.discriminator.update({"kind": judge, "noise": True})
    config.optimizer.update(ADAM | rates)
    config.discriminator_optimizer.update(ADAM | _judges_rates(rates) | {"skip_below": 1e-3})
    config.data.workers = 12
    config.training.update({"steps": STEPS, "evaluate_every": 10_000, "checkpoint_every": 3_000})
    config.data.validation.images = stream(
        "images", "data/imagenet/validation", batch=64, resolution=256, crop="centre", flip=False
    )


def _image_only(config: ConfigDict) -> None:
    _published(config, FIRST_RATES, "omni_image")
    config.data.train.image_256 = stream("images", "data/imagenet/train", batch=256, resolution=256, crop="centre", flip=False)


def _joint(config: ConfigDict) -> None:
    """One stream for each side: a batch has one shape, and all of a kind are drawn equally often."""
    _published(config, LATER_RATES, "omni_video")
    config.training.batches_per_update = 2
    for side in SIDES:
        place = {"resolution": side, "crop": "centre", "flip": False}
        config.data.train[f"image_{side}"] = stream("images", "data/imagenet/train", batch=256, **place)
        config.data.train[f"video_{side}"] = _kinetics("train", batch=128, **place)
    config.data.validation.videos = _kinetics("validation", batch=32, resolution=256, crop="centre", flip=False)


def _three_stages(config: ConfigDict) -> None:
    """Streams of later stages have weight 0 before; a stage takes over all weights whose shapes are the same."""
    _joint(config)
    weights = {name: one.weight for name, one in config.data.train.items()}
    for one in config.data.train.values():
        one.weight = 0.0
    joint = {
        "data": {"train": {name: {"weight": weight} for name, weight in weights.items()}},
        "model": {"time_factor": 4, "position": "rope", "attention": "fused"},
    }
    config.stages = stages(
        stage(
            "images",
            data={"train": {"image_256": {"weight": 1.0}}},
            discriminator={"kind": "omni_image"},
            optimizer=FIRST_RATES,
            discriminator_optimizer=_judges_rates(FIRST_RATES),
            training={"batches_per_update": 1},
        ),
        stage("joint", inflate="sound", **joint),
        stage("kl", **(joint | {"model": joint["model"] | {"quantizer": {"name": "kl"}}}), loss={"regularization_weight": 1e-6}),
    )


def _kinetics(split: str, **changes: Any) -> ConfigDict:
    return stream("videos", "data/k600", table=f"data/k600/{split}.csv", frames=17, **changes)


def _tiny(config: ConfigDict) -> None:
    """Images, then images and clips: the crops of experiments/quickstart.py, scored on the same photographs and clips."""
    for split, changes in (("train", {"resolution": 32}), ("validation", {"resolution": 64, "crop": "centre", "flip": False})):
        folder, images, clips = f"{SAMPLE}/{split}", *((24, 8) if split == "train" else (8, 4))
        config.data[split].images = stream("images", f"{folder}/images", batch=images, short_side=320, **changes)
        config.data[split].videos = stream(
            "videos", f"{folder}/videos", table=f"{folder}/videos.csv", batch=clips, frames=5, short_side=320, **changes
        )
    config.loss.update({"reconstruction": "l2", "reduction": "mean", "reconstruction_weight": 4.0, "regularization_weight": 1.0})
    config.optimizer.update({"learning_rate": 2e-3, "schedule": "cosine", "warmup_steps": 50, "b2": 0.99, "clip_norm": 1.0})
    config.training.update({"steps": 300, "log_every": 50, "evaluate_every": 300, "checkpoint_every": 150})
    config.stages = stages(
        stage("images", data={"train": {"videos": {"weight": 0.0}}}),
        stage("joint", inflate="sound", optimizer={"learning_rate": 1e-3}, training={"steps": 400}),
    )
