"""The columns of a sweep's table: heads, units, and which end is the better one.

A column of quality is "STREAM/METRIC" of the validation streams, such as "videos/psnr", or "usage" and "perplexity" of the
codebook. The columns of cost belong to every table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from tokjax.errors import nearest, require

# Metric -> head, digits, whether more is better; those of tokjax.evaluation.protocols.METRICS that tables report.
QUALITY = {
    "psnr": ("PSNR", 2, True),
    "ssim": ("SSIM", 3, True),
    "lpips_vgg16": ("LPIPS", 3, False),
    "lpips_alexnet": ("LPIPS (Alex)", 3, False),
    "fid_torch": ("rFID", 2, False),
    "fid_tf1": ("rFID (tf1)", 2, False),
    "inception_score": ("IS", 2, True),
    "fvd_omnitokenizer": ("rFVD (omnitokenizer)", 1, False),
    "fvd_videogpt": ("rFVD (videogpt)", 1, False),
    "fvd_styleganv": ("FVD", 1, False),
    "fvd_styleganv_official": ("FVD (official)", 1, False),
    "fvd_tfhub": ("FVD (tfhub)", 1, False),
}


@dataclasses.dataclass(frozen=True)
class Column:
    """Attributes:
    head: of the table.
    text: of a value.
    more: whether the largest is the best; None where none is.
    """

    head: str
    text: Callable[[float], str]
    more: bool | None


CODEBOOK = {
    "usage": Column("utilization", lambda value: f"{value:.1%}", True),
    "perplexity": Column("perplexity", lambda value: f"{value:,.0f}", True),
}
COST = {
    "parameters": Column("parameters", lambda value: _scaled(value, ((1e6, "M"), (1e3, "k"))), None),
    "macs": Column("MACs a clip", lambda value: _scaled(value, ((1e12, "T"), (1e9, "G"), (1e6, "M"))), None),
    "bits_per_pixel": Column("bits/pixel", lambda value: f"{value:.4f}", None),
    "peak_memory": Column("peak memory", lambda value: _scaled(value, ((1e9, "GB"), (1e6, "MB"))), None),
    "device_hours": Column("device hours", lambda value: f"{value:,.0f}" if value >= 100 else f"{value:.3g}", None),
}


def _scaled(value: float, sizes: Sequence[tuple[float, str]]) -> str:
    size, unit = next((one for one in sizes if value >= one[0]), sizes[-1])
    return f"{value / size:.2f} {unit}"


def column_of(key: str, several_streams: bool = False) -> Column:
    """Of a key that `check_columns` lets through; heads name the stream where the table has several."""
    if key in CODEBOOK or key in COST:
        return (CODEBOOK | COST)[key]
    stream, _, metric = key.partition("/")
    head, digits, more = QUALITY[metric]
    return Column(f"{head}, {stream}" if several_streams else head, lambda value: f"{value:.{digits}f}", more)


def check_columns(keys: Sequence[str]) -> None:
    """Raises ConfigError for a column that does not exist or comes twice."""
    for key in keys:
        stream, slash, metric = key.partition("/")
        known = list(QUALITY) if slash else [*CODEBOOK, "videos/psnr"]
        fits = (stream and metric in QUALITY) if slash else key in CODEBOOK
        require(
            bool(fits),
            f"there is no column {key!r}{nearest(metric if slash else key, known)}; columns are STREAM/METRIC, as videos/psnr, "
            f"with {', '.join(QUALITY)}, or {', '.join(CODEBOOK)}; those of cost come by themselves",
        )
        require(list(keys).count(key) == 1, f"the column {key!r} comes twice")


def log_name(key: str) -> str:
    """Its name among the scalars that training logs."""
    return f"validation/codebook/{key}" if key in CODEBOOK else f"validation/{key}"


def several_streams(keys: Sequence[str]) -> bool:
    """Whether columns are of more than one stream, so that heads have to name them."""
    return len({key.partition("/")[0] for key in keys if "/" in key}) > 1
