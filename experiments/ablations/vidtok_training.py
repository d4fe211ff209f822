"""VidTok, Table 4: sample rate, resolution, stages and a frozen encoder, with what they cost in device hours (KL, 4 channels).

    tokjax sweep experiments/ablations/vidtok_training.py:laptop --workdir runs/training
    tokjax sweep experiments/ablations/vidtok_training.py:paper --workdir /shared/training --launcher slurm

At full size rows take 960 to 3,072 A100 hours in the paper, and want data/videos and the networks of experiments/vidtok.py, and
data/i3d.npz for FVD. The toy rows have 16x16 and 32x32 for 128x128 and 256x256.
"""

from typing import Any

from tokjax.sweep.papers import TOY_NOTES, VIDTOK_SCORES
from tokjax.sweep.rows import Row, Sweep

PAPER = "experiments/vidtok.py:kl_causal_488_4chn"
LAPTOP = "experiments/ablations/laptop.py:"
PRINTED = ("videos/psnr", "videos/ssim", "videos/lpips_vgg16", "videos/fvd_styleganv", "device_hours")
# Sample rate, stage 1, stage 2, encoder frozen in stage 2, and PSNR, SSIM, LPIPS, FVD and A100 hours.
LINES = {
    "large": (3, 256, None, None, (29.19, 0.843, 0.127, 174.9, 3072)),
    "small": (3, 128, None, None, (29.02, 0.838, 0.130, 221.7, 960)),
    "two_stages": (3, 128, 256, False, (29.15, 0.842, 0.127, 203.2, 1728)),
    "two_stages_frozen": (3, 128, 256, True, (29.21, 0.843, 0.125, 189.8, 1536)),
    "two_stages_frozen_8fps": (8, 128, 256, True, (29.02, 0.839, 0.126, 219.2, 1536)),
}


def get_sweep(scale: str = "paper") -> Sweep:
    laptop = scale == "laptop"
    columns = PRINTED[:2] if laptop else PRINTED[:4]
    return Sweep(
        title=f"VidTok, Table 4: training strategy ({scale})",
        rows=tuple(_row(name, line, laptop, columns) for name, line in LINES.items()),
        columns=columns,
        source="Table 4 of VidTok (arXiv 2412.13061), on MCL-JCV at 17x256x256; its device hours are those of an A100",
        notes=TOY_NOTES if laptop else (),
    )


def _row(name: str, line: tuple[Any, ...], laptop: bool, columns: tuple[str, ...]) -> Row:
    rate, first, second, frozen, numbers = line
    stream = "videos" if laptop else "video"
    overrides: dict[str, Any] = {f"data.train.{stream}.frame_rate": float(rate)} | ({} if laptop else VIDTOK_SCORES)
    if second is None and first == 128:
        overrides[f"data.train.{stream}.resolution"] = 16 if laptop else 128
    if frozen is False:
        overrides["stages.large.optimizer.freeze"] = ()
    staged = second is not None
    experiment = LAPTOP + ("two_stages" if staged else "clips") if laptop else PAPER + "_two_stages" * staged
    shrink = 8 if laptop else 1
    facts = {"sample rate": f"{rate} FPS", "stage 1": str(first // shrink), "stage 2": str(second // shrink) if second else "–"}
    facts["encoder fixed in stage 2"] = {None: "–", False: "no", True: "yes"}[frozen]
    paper = {key: value for key, value in zip(PRINTED, numbers, strict=True) if key in (*columns, "device_hours")}
    return Row(name, experiment, overrides, facts=facts, paper=paper)
