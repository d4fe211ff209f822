"""VidTok, Table 2: what its parts are worth, by models without them (KL, 4 channels).

    tokjax sweep experiments/ablations/vidtok_architecture.py:laptop --workdir runs/architecture
    tokjax sweep experiments/ablations/vidtok_architecture.py:paper --workdir /shared/architecture --launcher slurm

At full size each row is 50,000 steps at 256x256, 3,072 A100 hours in the paper, and wants data/videos and the networks of
experiments/vidtok.py, and data/i3d.npz for FVD. Parameters and MACs of the full size are checked by our tests.
"""

from tokjax.sweep.papers import TOY_NOTES, VIDTOK_SCORES
from tokjax.sweep.rows import Row, Sweep

PAPER = "experiments/vidtok.py:kl_causal_488_4chn"
LAPTOP = "experiments/ablations/laptop.py:clips"
# Variant, what it is called in the table, and the paper's parameters, MACs, PSNR, SSIM, LPIPS and FVD.
VARIANTS = (
    ("full_3d", "fully 3D", (245e6, 16.98e12, 29.39, 0.847, 0.117, 176.9)),
    ("no_blender", "without AlphaBlender", (142e6, 7.17e12, 29.36, 0.846, 0.119, 185.7)),
    ("no_3d", "without 3D architecture", (126e6, 10.18e12, 29.26, 0.846, 0.120, 200.6)),
    ("published", "VidTok", (157e6, 10.35e12, 29.64, 0.852, 0.114, 194.2)),
)
PRINTED = ("parameters", "macs", "videos/psnr", "videos/ssim", "videos/lpips_vgg16", "videos/fvd_styleganv")


def get_sweep(scale: str = "paper") -> Sweep:
    laptop = scale == "laptop"
    rows = []
    for architecture, name, numbers in VARIANTS:
        overrides = {"model.architecture": architecture} | ({} if laptop else VIDTOK_SCORES)
        facts, paper = {"variant": name}, dict(zip(PRINTED, numbers, strict=True))
        if laptop:
            paper = {key: value for key, value in paper.items() if key in ("parameters", "macs", "videos/psnr", "videos/ssim")}
        rows.append(Row(architecture, LAPTOP if laptop else PAPER, overrides, facts=facts, paper=paper))
    return Sweep(
        title=f"VidTok, Table 2: architecture ({scale})",
        rows=tuple(rows),
        columns=PRINTED[2:4] if laptop else PRINTED[2:],
        source="Table 2 of VidTok (arXiv 2412.13061), on MCL-JCV at 17x256x256",
        notes=TOY_NOTES if laptop else (),
    )
