"""VidTok, Table 3: discrete latents by VQ, LFQ and FSQ, each with and without its regularization loss.

    tokjax sweep experiments/ablations/vidtok_regularizers.py:laptop --workdir runs/regularizers
    tokjax sweep experiments/ablations/vidtok_regularizers.py:paper --workdir /shared/regularizers --launcher slurm

Without the loss a row has config.loss.regularization_weight 0: no entropy and commitment for LFQ and FSQ, and for VQ neither
commitment nor the loss that moves its codes, so that it may collapse; its utilization then shows it.

At full size each row is 50,000 steps at 256x256 and wants data/videos and the networks of experiments/vidtok.py, and
data/i3d.npz for FVD. The paper does not give VQ's latent channels; here they are 4. At toy size codebooks of 64, 32 and 16 codes
stand for 262,144, 32,768 and 4,096, so that the few held-out tokens, 4,096, can use all of them; and the loss of LFQ and FSQ has
a weight of 0.1, since beside a reconstruction loss that is a mean, and so is small, a weight of 1 would leave little room for it.
"""

from typing import Any, NamedTuple

from tokjax.sweep.papers import VIDTOK_METRICS, VIDTOK_SCORES
from tokjax.sweep.rows import Row, Sweep

PAPER = "experiments/vidtok.py:kl_causal_488_4chn"
LAPTOP = "experiments/ablations/laptop.py:images"
PRINTED = ("psnr", "ssim", *VIDTOK_METRICS)


class Line(NamedTuple):
    """Of the table: regularizer, codes, toy codes, with its loss or not, and PSNR, SSIM, LPIPS, FVD and utilization."""

    name: str
    codes: int
    toy_codes: int
    loss: bool
    printed: tuple[float, ...]


LINES = {
    "vq_without_loss": Line("vq", 262_144, 64, False, ()),
    "vq": Line("vq", 262_144, 64, True, (23.22, 0.657, 0.336, 960.5, 0.002)),
    "lfq_without_loss": Line("lfq", 262_144, 64, False, (23.91, 0.688, 0.251, 619.8, 0.042)),
    "lfq": Line("lfq", 262_144, 64, True, (28.04, 0.833, 0.133, 208.1, 0.999)),
    "fsq_without_loss": Line("fsq", 262_144, 64, False, (29.75, 0.866, 0.109, 167.5, 0.998)),
    "fsq": Line("fsq", 262_144, 64, True, (29.82, 0.867, 0.106, 160.1, 0.998)),
    "fsq_32768": Line("fsq", 32_768, 32, True, (29.16, 0.854, 0.117, 196.9, 1.0)),
    "fsq_4096": Line("fsq", 4_096, 16, True, (28.36, 0.832, 0.133, 218.1, 1.0)),
}
LEVELS = {262_144: (8,) * 6, 32_768: (8,) * 5, 4_096: (8,) * 4, 64: (8, 8), 32: (8, 4), 16: (4, 4)}


def get_sweep(scale: str = "paper") -> Sweep:
    laptop = scale == "laptop"
    stream, metrics = ("images", PRINTED[:2]) if laptop else ("videos", PRINTED)
    columns = (*(f"{stream}/{metric}" for metric in metrics), "usage")
    return Sweep(
        title=f"VidTok, Table 3: discrete techniques ({scale})",
        rows=tuple(_row(name, line, laptop, columns) for name, line in LINES.items()),
        columns=columns,
        source="Table 3 of VidTok (arXiv 2412.13061), on MCL-JCV at 17x256x256, with codebooks of the sizes it prints",
        notes=("Toy models, codebooks and data: compare orders, not values.",) if laptop else (),
    )


def _row(name: str, line: Line, laptop: bool, columns: tuple[str, ...]) -> Row:
    codes = line.toy_codes if laptop else line.codes
    full = 0.1 if laptop and line.name != "vq" else 1.0
    weight = {"loss.regularization_weight": full if line.loss else 0.0}
    overrides = _quantizer(line.name, codes) | weight | ({} if laptop else VIDTOK_SCORES)
    size = f"{line.name.upper()} {codes:,}" + (f" for {line.codes:,}" if laptop else "")
    facts = {"regularizer": size, "R.L.": "yes" if line.loss else "no"}
    printed = dict(zip((*PRINTED, "usage"), line.printed, strict=True)) if line.printed else {"psnr": "diverged"}
    paper = {key: printed[key.rpartition("/")[2]] for key in columns if key.rpartition("/")[2] in printed}
    return Row(name, LAPTOP if laptop else PAPER, overrides, facts=facts, paper=paper)


def _quantizer(name: str, codes: int) -> dict[str, Any]:
    own = {
        "vq": {"model.quantizer.codebook_size": codes, "model.latent_channels": 4},
        "lfq": {"model.quantizer.codebook_size": codes, "model.latent_channels": codes.bit_length() - 1},
        "fsq": {"model.quantizer.levels": LEVELS[codes], "model.latent_channels": len(LEVELS[codes])},
    }
    return {"model.quantizer.name": name, **own[name]}
