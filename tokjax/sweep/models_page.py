"""Rate and distortion, and a radar, of any models whose numbers are known by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokjax.errors import require
from tokjax.evaluation.comparison import html_part, read_evaluations, table_of, value_of
from tokjax.evaluation.page import page
from tokjax.sweep.columns import QUALITY, column_of, several_streams
from tokjax.sweep.figures import radar_plot, rate_distortion_plot

RATED = ("psnr", "lpips_vgg16", "fvd")  # beginnings of the metrics that are plotted by rate


def figures(models: Mapping[str, Mapping[str, float]], columns: Sequence[str]) -> str:
    """The plots that the numbers allow.

    Args:
      models: by name, numbers by column, `bits_per_pixel` among them where the latents are codes.
      columns: those of quality, "STREAM/METRIC".
    """
    plots, several = [], several_streams(columns)
    for key in (key for key in columns if key.partition("/")[2].startswith(RATED)):
        rated = {name: one for name, one in models.items() if "bits_per_pixel" in one and key in one}
        if rated:
            points = {name: (one["bits_per_pixel"], one[key]) for name, one in rated.items()}
            plots.append(rate_distortion_plot(f"{column_of(key, several).head} by rate", points))
    radar = _radar(models, columns, several)
    without = [name for name, one in models.items() if "bits_per_pixel" not in one]
    note = (
        f"<p>Continuous latents have no rate and stand in no plot by rate: {', '.join(without)}.</p>" if plots and without else ""
    )
    body = f'<div class="plots">{"".join([*plots, radar])}</div>{note}'
    return f"<h2>Rate and distortion</h2>{body}" if plots or radar else ""


def _radar(models: Mapping[str, Mapping[str, float]], columns: Sequence[str], several: bool) -> str:
    """Over the columns that all models have, where they are three or more and so are an area."""
    axes = [key for key in columns if all(key in one for one in models.values())]
    if len(axes) < 3 or len(models) < 2:
        return ""
    heads = {key: column_of(key, several) for key in axes}
    values = {heads[key].head: [one[key] for one in models.values()] for key in axes}
    more = {heads[key].head: bool(heads[key].more) for key in axes}
    return radar_plot("Outside is better; each axis reaches from the worst to the best", list(models), values, more)


def models_page(folders: Sequence[Path]) -> str:
    """A page of the evaluations in these folders: their table, and the plots.

    Raises:
      DataError: a folder holds none. ConfigError: their numbers are of different protocols.
    """
    evaluations = read_evaluations(folders)
    presets = {str(one.get("protocol", {}).get("preset", "")) for one in evaluations.values()}
    require(len(presets) == 1, f"these evaluations are by different protocols ({', '.join(sorted(presets))}); plot those of one")
    models, columns = {}, {}
    for name, content in evaluations.items():
        for stream, one in content["streams"].items():
            found = _numbers(stream, one) | _rate(content, one)
            models[name if len(content["streams"]) == 1 else f"{name}: {stream}"] = found
            columns |= dict.fromkeys(key for key in found if "/" in key)
    return page("Models", [html_part(table_of(evaluations)), figures(models, list(columns))])


def _numbers(stream: str, one: Mapping[str, Any]) -> dict[str, float]:
    found = {f"{stream}/{metric}": value_of(one, metric) for metric in QUALITY}
    return {key: value for key, value in found.items() if value is not None}


def _rate(content: Mapping[str, Any], one: Mapping[str, Any]) -> dict[str, float]:
    rate = content.get("cost", {}).get("bits_per_pixel", one.get("bits_per_pixel"))
    return {} if rate is None else {"bits_per_pixel": rate}
