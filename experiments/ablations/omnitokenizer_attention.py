"""OmniTokenizer: attention within windows against attention over whole frames in the encoder.

    tokjax sweep experiments/ablations/omnitokenizer_attention.py:laptop --workdir runs/omnitokenizer_attention
    tokjax sweep experiments/ablations/omnitokenizer_attention.py:paper --workdir /shared/attention --launcher slurm

The published encoder has two blocks of each ("ttww"), its decoder whole frames only ("tttt"). The paper prints no numbers for
the others. Data and networks at full size are those of experiments/omnitokenizer.py, and data/inception.npz and data/i3d.npz.
"""

from tokjax.sweep.papers import OMNITOKENIZER_MEASURED, OMNITOKENIZER_PRINTED, OMNITOKENIZER_SCORES, TOY_NOTES
from tokjax.sweep.rows import Row, Sweep

PAPER = "experiments/ablations/omnitokenizer_rows.py:joint"
LAPTOP = "experiments/ablations/laptop.py:omnitokenizer_joint"
# Blocks of the encoder at full and at toy size.
LINES = {"windows_and_plain": ("ttww", "tw"), "plain": ("tttt", "tt"), "windows": ("wwww", "ww")}


def get_sweep(scale: str = "paper") -> Sweep:
    laptop = scale == "laptop"
    rows = []
    for name, (full, toy) in LINES.items():
        blocks = toy if laptop else full
        overrides = {"model.encoder_blocks": blocks} | ({} if laptop else OMNITOKENIZER_SCORES)
        rows.append(Row(name, LAPTOP if laptop else PAPER, overrides, facts={"encoder blocks": blocks}))
    scores = () if laptop else OMNITOKENIZER_PRINTED
    return Sweep(
        title=f"OmniTokenizer: windows against plain attention ({scale})",
        rows=tuple(rows),
        columns=(*scores, *OMNITOKENIZER_MEASURED),
        notes=TOY_NOTES if laptop else (),
    )
