"""OmniTokenizer: images alone against images and clips together, from the start or in stages.

    tokjax sweep experiments/ablations/omnitokenizer_training.py:laptop --workdir runs/omnitokenizer_training
    tokjax sweep experiments/ablations/omnitokenizer_training.py:paper --workdir /shared/omnitokenizer --launcher slurm

At full size a stage is 500,000 batches on 32 GPUs; data and networks are those of experiments/omnitokenizer.py, and
data/inception.npz and data/i3d.npz for the scores.
"""

from tokjax.sweep.papers import OMNITOKENIZER_MEASURED, OMNITOKENIZER_PRINTED, OMNITOKENIZER_SCORES, TOY_NOTES
from tokjax.sweep.rows import Row, Sweep

PAPER = "experiments/ablations/omnitokenizer_rows.py:"
LAPTOP = "experiments/ablations/laptop.py:omnitokenizer_"
# Of the paper's rows at full size, toy rows, what it is trained on, latents, and the paper's rFID and rFVD (ImageNet, K600).
LINES = {
    "images_only": ("images", "images", "VQ", (1.28, None)),
    "joint": ("joint", "images and clips", "VQ", (None, None)),
    "images_then_joint": ("staged", "images, then both", "VQ", (1.23, 25.97)),
    "three_stages": ("three_stages", "images, then both, then KL", "KL", (0.78, 13.02)),
}


def get_sweep(scale: str = "paper") -> Sweep:
    laptop = scale == "laptop"
    rows = []
    for name, (toy, trained_on, latents, numbers) in LINES.items():
        printed = dict(zip(OMNITOKENIZER_PRINTED, numbers, strict=True))
        paper = {} if laptop else {key: value for key, value in printed.items() if value is not None}
        facts = {"trained on": trained_on, "latents": latents}
        rows.append(
            Row(name, LAPTOP + toy if laptop else PAPER + name, {} if laptop else OMNITOKENIZER_SCORES, facts=facts, paper=paper)
        )
    scores = () if laptop else OMNITOKENIZER_PRINTED
    return Sweep(
        title=f"OmniTokenizer: images alone against both, and stages ({scale})",
        rows=tuple(rows),
        columns=(*scores, *OMNITOKENIZER_MEASURED),
        source="" if laptop else "OmniTokenizer (arXiv 2406.09399), ImageNet and Kinetics-600; of images only, its model 1x8x8",
        notes=TOY_NOTES if laptop else (),
    )
