"""OmniTokenizer: codes (VQ) against continuous latents (KL), images and clips together.

    tokjax sweep experiments/ablations/omnitokenizer_latents.py:laptop --workdir runs/omnitokenizer_latents
    tokjax sweep experiments/ablations/omnitokenizer_latents.py:paper --workdir /shared/latents --launcher slurm

The paper's numbers are of models that went through all stages before; `omnitokenizer_training.py` has those. Data and networks at
full size are those of experiments/omnitokenizer.py, and data/inception.npz and data/i3d.npz.
"""

from tokjax.sweep.papers import OMNITOKENIZER_MEASURED, OMNITOKENIZER_PRINTED, OMNITOKENIZER_SCORES, TOY_NOTES
from tokjax.sweep.rows import Row, Sweep

PAPER = "experiments/ablations/omnitokenizer_rows.py:"
LAPTOP = "experiments/ablations/laptop.py:omnitokenizer_"
LINES = {"vq": ("joint", "joint", (1.23, 25.97)), "kl": ("joint_kl", "kl", (0.78, 13.02))}


def get_sweep(scale: str = "paper") -> Sweep:
    laptop = scale == "laptop"
    scores = OMNITOKENIZER_PRINTED
    rows = []
    for name, (full, toy, numbers) in LINES.items():
        paper = {} if laptop else dict(zip(scores, numbers, strict=True))
        experiment = LAPTOP + toy if laptop else PAPER + full
        rows.append(Row(name, experiment, {} if laptop else OMNITOKENIZER_SCORES, facts={"latents": name.upper()}, paper=paper))
    return Sweep(
        title=f"OmniTokenizer: codes against continuous latents ({scale})",
        rows=tuple(rows),
        columns=(*(() if laptop else scores), *OMNITOKENIZER_MEASURED),
        source="" if laptop else "OmniTokenizer (arXiv 2406.09399), ImageNet and Kinetics-600, after its three stages",
        notes=TOY_NOTES if laptop else (),
    )
