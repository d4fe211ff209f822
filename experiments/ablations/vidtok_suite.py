"""VidTok, Table 5: the whole suite of models.

    tokjax sweep experiments/ablations/vidtok_suite.py:laptop --workdir runs/suite
    tokjax sweep experiments/ablations/vidtok_suite.py:paper --workdir /shared/suite --launcher slurm

At full size each row is the experiment of its name in experiments/vidtok.py and wants what stands there, and data/i3d.npz for
FVD. The toy rows compress as much, with narrow layers, clips of 9 (or 8) frames of 32x32, and FSQ of 2, 3 and 4 channels for 4, 5
and 6.
"""

from typing import Any, NamedTuple

from tokjax.sweep.papers import TOY_NOTES, VIDTOK_SCORES
from tokjax.sweep.rows import Row, Sweep

PAPER = "experiments/vidtok.py:"
LAPTOP = "experiments/ablations/laptop.py:suite"
PRINTED = ("parameters", "videos/psnr", "videos/ssim", "videos/lpips_vgg16", "videos/fvd_styleganv")


class Line(NamedTuple):
    """Regularizer, latent channels, causal or not, compression, latents, and the paper's numbers."""

    regularizer: str
    channels: int
    causal: bool
    compression: str
    latent: str
    printed: tuple[float, ...]


LINES = {
    "kl_causal_488_4chn": Line("KL", 4, True, "4x8x8", "5x32x32", (157e6, 29.64, 0.852, 0.114, 194.2)),
    "kl_causal_41616_4chn": Line("KL", 4, True, "4x16x16", "5x16x16", (199e6, 25.05, 0.711, 0.228, 549.1)),
    "kl_noncausal_488_4chn": Line("KL", 4, False, "4x8x8", "4x32x32", (158e6, 30.60, 0.876, 0.098, 157.9)),
    "kl_noncausal_41616_4chn": Line("KL", 4, False, "4x16x16", "4x16x16", (199e6, 26.06, 0.751, 0.190, 423.2)),
    "kl_causal_488_8chn": Line("KL", 8, True, "4x8x8", "5x32x32", (157e6, 31.83, 0.897, 0.083, 109.3)),
    "kl_causal_488_16chn": Line("KL", 16, True, "4x8x8", "5x32x32", (157e6, 35.04, 0.942, 0.047, 78.9)),
    "kl_causal_288_8chn": Line("KL", 8, True, "2x8x8", "9x32x32", (149e6, 33.86, 0.928, 0.057, 80.7)),
    "kl_causal_444_4chn": Line("KL", 4, True, "4x4x4", "5x64x64", (155e6, 34.78, 0.941, 0.051, 87.2)),
    "fsq_causal_488_4096": Line("FSQ", 4, True, "4x8x8", "5x32x32", (157e6, 28.36, 0.832, 0.133, 218.1)),
    "fsq_causal_488_32768": Line("FSQ", 5, True, "4x8x8", "5x32x32", (157e6, 29.16, 0.854, 0.117, 196.9)),
    "fsq_causal_488_262144": Line("FSQ", 6, True, "4x8x8", "5x32x32", (157e6, 29.82, 0.867, 0.106, 160.1)),
    "fsq_causal_41616_262144": Line("FSQ", 6, True, "4x16x16", "5x16x16", (199e6, 25.38, 0.738, 0.206, 430.1)),
    "fsq_noncausal_488_262144": Line("FSQ", 6, False, "4x8x8", "4x32x32", (157e6, 30.78, 0.889, 0.091, 132.1)),
    "fsq_noncausal_41616_262144": Line("FSQ", 6, False, "4x16x16", "4x16x16", (199e6, 26.37, 0.772, 0.171, 357.0)),
}
SHAPES: dict[str, dict[str, Any]] = {
    "4x8x8": {},
    "4x16x16": {"model.channel_multipliers": (1, 2, 4, 4, 4)},
    "2x8x8": {"model.time_factor": 2, "model.time_down": (1,), "model.time_up": (2,)},
    "4x4x4": {"model.spatial_down": (1, 2), "model.spatial_up": (1, 2)},
}


def get_sweep(scale: str = "paper") -> Sweep:
    laptop = scale == "laptop"
    columns = PRINTED[1:3] if laptop else PRINTED[1:]
    return Sweep(
        title=f"VidTok, Table 5: the model suite ({scale})",
        rows=tuple(_row(name, line, laptop, columns) for name, line in LINES.items()),
        columns=columns,
        source="Table 5 of VidTok (arXiv 2412.13061), on MCL-JCV at 256x256",
        notes=TOY_NOTES if laptop else (),
    )


def _row(name: str, line: Line, laptop: bool, columns: tuple[str, ...]) -> Row:
    facts = {"regularizer": _regularizer(line), "causal": "yes" if line.causal else "no", "compression": line.compression}
    facts |= {"input": f"{17 if line.causal else 16}x256x256", "latent": line.latent}
    paper = {key: value for key, value in zip(PRINTED, line.printed, strict=True) if key in (*columns, "parameters")}
    if not laptop:
        return Row(name, PAPER + name, VIDTOK_SCORES, facts=facts, paper=paper)
    facts = {key: facts[key] for key in ("regularizer", "causal", "compression")}
    return Row(name, LAPTOP, _toy(line), facts=facts, paper=paper)


def _regularizer(line: Line) -> str:
    return f"FSQ {8**line.channels:,}" if line.regularizer == "FSQ" else f"KL {line.channels}chn"


def _toy(line: Line) -> dict[str, Any]:
    overrides = dict(SHAPES[line.compression])
    if not line.causal:
        overrides |= {"model.causality": "noncausal", "data.train.videos.frames": 8, "data.validation.videos.frames": 8}
    if line.regularizer == "KL":
        return overrides | {"model.latent_channels": line.channels}
    levels = (8,) * (line.channels - 2)
    codes = {"model.quantizer.name": "fsq", "model.quantizer.levels": levels, "model.latent_channels": len(levels)}
    return overrides | codes | {"loss.regularization_weight": 1.0}
