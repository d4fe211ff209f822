"""OmniTokenizer: attention within windows against attention over whole frames in the encoder.

    tokjax sweep experiments/ablations/omnitokenizer_attention.py:laptop --workdir runs/omnitokenizer_attention
    tokjax sweep experiments/ablations/omnitokenizer_attention.py:paper --workdir /shared/attention --launcher slurm

The published encoder has two blocks of each ("ttww"), its decoder whole frames only ("tttt"). The paper prints no numbers for
the others. Data and networks at full size are those of experiments/omnitokenizer.py, and data/inception.npz and data/i3d.npz.
"""

from tokjax.sweep.rows import Row, Sweep

PAPER = "experiments/ablations/omnitokenizer_rows.py:joint"
LAPTOP = "experiments/ablations/laptop.py:omnitokenizer_joint"
SCORES = {
    "training.evaluation_metrics": ("fid_torch", "fvd_omnitokenizer"),
    "training.evaluation_weights": ("data/inception.npz", "data/i3d.npz"),
}
# Blocks of the encoder at full and at toy size.
LINES = {"windows_and_plain": ("ttww", "tw"), "plain": ("tttt", "tt"), "windows": ("wwww", "ww")}


def get_sweep(scale: str = "paper") -> Sweep:
    laptop = scale == "laptop"
    rows = []
    for name, (full, toy) in LINES.items():
        blocks = toy if laptop else full
        overrides = {"model.encoder_blocks": blocks} | ({} if laptop else SCORES)
        rows.append(Row(name, LAPTOP if laptop else PAPER, overrides, facts={"encoder blocks": blocks}))
    scores = () if laptop else ("images/fid_torch", "videos/fvd_omnitokenizer")
    return Sweep(
        title=f"OmniTokenizer: windows against plain attention ({scale})",
        rows=tuple(rows),
        columns=(*scores, "images/psnr", "images/ssim", "videos/psnr", "videos/ssim", "usage"),
        notes=("Toy models on toy data: compare orders, not values.",) if laptop else (),
    )
