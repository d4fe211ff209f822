"""VidTok (Tang et al., arXiv 2412.13061): all published models, and the architectures of its Table 2, one row each.

    tokjax train --config experiments/vidtok.py:kl_causal_488_4chn --workdir runs/kl_causal_488_4chn
    tokjax train --config experiments/vidtok.py:kl_causal_488_4chn_two_stages --workdir runs/two_stages
    tokjax train --config experiments/vidtok.py:kl_causal_488_4chn_fine_tuned --workdir runs/fine_tuned

Data: a folder of videos with `train.csv` and `validation.csv` (column `videos`) at `--config.data.train.video.path` and
`--config.data.validation.videos.path`. Hardware of the paper: A100, 3,072 GPU hours at 256x256, or 1,536 in two stages. The
published batch is 2 clips on each GPU, of v1.1 one; here it is that of 8 devices.

All rows have the published losses: L1 and LPIPS with a learned variance, from step 10,000 on a discriminator of frames with the
adaptive weight and LeCAM, and KL divergence or FSQ's entropy and commitment. LPIPS reads data/perceptual_vgg16.npz, which
`tokjax convert perceptual --vgg16 vgg16.pth --lpips vgg.pth -o data/perceptual_vgg16.npz` makes once.

`two_stages` is the recipe of the paper: 50,000 steps of 16 clips at 128x128, then 30,000 of 8 at 256x256 with a frozen encoder.
`fine_tuned` goes on from released weights, discriminator included:
`tokjax convert vidtok --checkpoint FILE --config YAML --with-discriminator -o data/kl_causal_488_4chn`.

A name reads regularizer, causality, compression of time and of both sides, and latent channels or codebook size. Causal models
see 17 frames, non-causal ones 16; v1.1 models are causal ones tuned further on 33 frames, for long videos.

The quality is the paper's, where that has none the published README's: PSNR / SSIM / LPIPS / FVD on MCL-JCV at 256x256 and 30
frames per second, in clips of 17 or 16 frames, for v1.1 on whole videos. Nothing of it has been measured here. Parameter counts,
latent shapes and the cost of the architectures of Table 2 are checked by our tests, as are single steps of training.
"""

from typing import Any, Literal, NamedTuple

from ml_collections import ConfigDict

from tokjax.config import defaults, stage, stages, stream


class Row(NamedTuple):
    """What differs between models, the published PSNR / SSIM / LPIPS / FVD, where there are any, and how it is trained."""

    model: dict[str, Any]
    published: tuple[float, float, float, float] | None
    recipe: Literal["one_stage", "two_stages", "fine_tuned"] = "one_stage"


def _kl(channels: int, **model: Any) -> dict[str, Any]:
    return {"latent_channels": channels, "quantizer": {"name": "kl"}, **model}


def _fsq(channels: int, **model: Any) -> dict[str, Any]:
    return {"latent_channels": channels, "quantizer": {"name": "fsq", "levels": (8,) * channels}, **model}


_16 = {"channel_multipliers": (1, 2, 4, 4, 4)}
_TWICE = {"time_factor": 2, "time_down": (1,), "time_up": (2,)}
_8_TIMES = {"time_factor": 8, "time_down": (0, 1, 2), "time_up": (1, 2, 3)}
_NONCAUSAL = {"causality": "noncausal"}
_V1_1 = {"causality": "causal_v1_1"}

VARIANTS = {
    # Table 5.
    "kl_causal_488_4chn": Row(_kl(4), (29.64, 0.852, 0.114, 194.2)),
    "kl_causal_488_8chn": Row(_kl(8), (31.83, 0.897, 0.083, 109.3)),
    "kl_causal_488_16chn": Row(_kl(16), (35.04, 0.942, 0.047, 78.9)),
    "kl_causal_41616_4chn": Row(_kl(4, **_16), (25.05, 0.711, 0.228, 549.1)),
    "kl_causal_444_4chn": Row(_kl(4, spatial_down=(1, 2), spatial_up=(1, 2)), (34.78, 0.941, 0.051, 87.2)),
    "kl_causal_288_8chn": Row(_kl(8, **_TWICE), (33.86, 0.928, 0.057, 80.7)),
    "kl_noncausal_488_4chn": Row(_kl(4, **_NONCAUSAL), (30.60, 0.876, 0.098, 157.9)),
    "kl_noncausal_488_16chn": Row(_kl(16, **_NONCAUSAL), (36.13, 0.950, 0.044, 60.5)),
    "kl_noncausal_41616_4chn": Row(_kl(4, **_16, **_NONCAUSAL), (26.06, 0.751, 0.190, 423.2)),
    "kl_noncausal_41616_16chn": Row(_kl(16, **_16, **_NONCAUSAL), (30.69, 0.878, 0.095, 147.1)),
    "fsq_causal_488_4096": Row(_fsq(4), (28.36, 0.832, 0.133, 218.1)),
    "fsq_causal_488_32768": Row(_fsq(5), (29.16, 0.854, 0.117, 196.9)),
    "fsq_causal_488_262144": Row(_fsq(6), (29.82, 0.867, 0.106, 160.1)),
    "fsq_causal_41616_262144": Row(_fsq(6, **_16), (25.38, 0.738, 0.206, 430.1)),
    "fsq_noncausal_488_262144": Row(_fsq(6, **_NONCAUSAL), (30.78, 0.889, 0.091, 132.1)),
    "fsq_noncausal_41616_262144": Row(_fsq(6, **_16, **_NONCAUSAL), (26.37, 0.772, 0.171, 357.0)),
    # v1.1.
    "kl_causal_488_4chn_v1_1": Row(_kl(4, **_V1_1), None),
    "kl_causal_488_16chn_v1_1": Row(_kl(16, **_V1_1), (35.13, 0.941, 0.049, 87.4)),
    "kl_causal_288_8chn_v1_1": Row(_kl(8, **_TWICE, **_V1_1), (34.59, 0.935, 0.051, 78.2)),
    "kl_causal_41616_16chn_v1_1": Row(_kl(16, **_16, **_V1_1), (29.61, 0.854, 0.113, 162.7)),
    "fsq_causal_488_32768_v1_1": Row(_fsq(5, **_V1_1), (29.39, 0.856, 0.114, 168.5)),
    "fsq_causal_888_32768_v1_1": Row(_fsq(5, **_8_TIMES, **_V1_1), (27.95, 0.817, 0.142, 293.2)),
    "fsq_causal_41616_262144_v1_1": Row(_fsq(6, **_16, **_V1_1), None),
    # Table 2: what kl_causal_488_4chn loses without its parts.
    "kl_causal_488_4chn_full_3d": Row(_kl(4, architecture="full_3d"), (29.39, 0.847, 0.117, 176.9)),
    "kl_causal_488_4chn_no_blender": Row(_kl(4, architecture="no_blender"), (29.36, 0.846, 0.119, 185.7)),
    "kl_causal_488_4chn_no_3d": Row(_kl(4, architecture="no_3d"), (29.26, 0.846, 0.120, 200.6)),
    # The same models, trained otherwise.
    "kl_causal_488_4chn_two_stages": Row(_kl(4), (29.64, 0.852, 0.114, 194.2), "two_stages"),
    "fsq_causal_488_262144_two_stages": Row(_fsq(6), (29.82, 0.867, 0.106, 160.1), "two_stages"),
    "kl_causal_488_4chn_fine_tuned": Row(_kl(4), None, "fine_tuned"),
}
_CLIPS = {
    "causal": {"frames": 17, "batch": 16},
    "noncausal": {"frames": 16, "batch": 16},
    "causal_v1_1": {"frames": 33, "batch": 8},
}


def get_config(variant: str = "kl_causal_488_4chn") -> ConfigDict:
    config = defaults()
    config.name = f"vidtok_{variant}"
    config.model.update(VARIANTS[variant].model)
    clip = {**_CLIPS[config.model.causality], "resolution": 256, "crop": "centre", "flip": False, "frame_rule": "vidtok"}
    config.data.train.video = stream("videos", "data/videos", table="data/videos/train.csv", frame_rate=3.0, **clip)
    config.data.validation.videos = stream("videos", "data/videos", table="data/videos/validation.csv", frame_rate=8.0, **clip)
    config.data.workers = 12
    config.model.dtype = "bfloat16"
    config.model.remat = True
    config.training.update({"steps": 50_000, "evaluate_every": 2_000, "checkpoint_every": 2_500})
    _published_losses(config)
    if VARIANTS[variant].recipe == "two_stages":
        config.stages = stages(
            stage("small", data={"train": {"video": {"resolution": 128}}}),
            stage(
                "large",
                data={"train": {"video": {"batch": 8}}},
                optimizer={"freeze": ("encoder",)},
                training={"steps": 30_000},
            ),
        )
    elif VARIANTS[variant].recipe == "fine_tuned":
        config.start_from = "data/kl_causal_488_4chn"
        config.loss.update({"adversarial_start": 0, "discriminator_start": 0})
        config.training.steps = 10_000
    return config


def _published_losses(config: ConfigDict) -> None:
    """Both players learn at 1e-5. The published code counts two steps for each of ours and starts its discriminator at 20,001."""
    config.loss.update({"perceptual_weight": 1.0, "perceptual_weights_file": "data/perceptual_vgg16.npz", "log_variance": True})
    config.loss.update({"adversarial": "hinge_cross_entropy", "adversarial_weight": 0.2, "adaptive": True, "lecam_weight": 0.005})
    config.loss.update({"adversarial_start": 10_001, "discriminator_start": 10_000})
    config.loss.regularization_weight = 1e-6 if config.model.quantizer.name == "kl" else 1.0
    config.discriminator.kind = "vidtok_2d"
    config.optimizer.learning_rate = config.discriminator_optimizer.learning_rate = 1e-5
