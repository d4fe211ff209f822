"""A table and a record of throughput measurements over kinds of work and batch sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tokjax.training.hardware import environment
from tokjax.training.throughput import Measurement, check, measure
from tokjax.training.workloads import Clips, random_variables

if TYPE_CHECKING:
    from jax.sharding import Mesh
    from ml_collections import ConfigDict

_COLUMNS = ("work", "batch", "median ms", "frames/s", "TFLOP/s", "MFU", "compile s", "memory GB")
_WIDTHS = (-12, 5, 11, 10, 9, 7, 10, 10)


def sweep(
    module: Any,
    variables: Any | None,
    clips: Sequence[Clips],
    works: Sequence[str],
    *,
    config: ConfigDict | None,
    mesh: Mesh,
    repeats: int,
    peak_tflops: float | None,
) -> Iterator[Measurement]:
    """Every kind of work on all of `clips`, each as it is done; arguments as in `measure`.

    Raises:
      ValueError: as `measure`, for any of them, before the first is measured.
    """
    pairs = [(work, one) for work in works for one in clips]
    for work, one in pairs:
        check(module, one, work, config, repeats, mesh)
    if variables is None and set(works) != {"train"}:
        variables = random_variables(module, mesh)
    options = {"config": config, "repeats": repeats, "peak_tflops": peak_tflops, "mesh": mesh}
    for work, one in pairs:
        yield measure(module, variables, one.frames, one.size, one.batch, work, **options)


def best(measurements: Sequence[Measurement]) -> list[Measurement]:
    """For each kind of work the measurement with the most frames per second, of those that fit."""
    fastest: dict[str, Measurement] = {}
    for one in measurements:
        if one.fits and (one.work not in fastest or one.frames_per_second > fastest[one.work].frames_per_second):
            fastest[one.work] = one
    return list(fastest.values())


def record(
    model: str, dtype: str, peak_tflops: float | None, measurements: Sequence[Measurement], command: str
) -> dict[str, Any]:
    """What was measured and on what, ready for JSON.

    Args:
      model: its name or path.
      dtype: of the computation.
      peak_tflops: of one device, or None where it is not known.
      command: what was typed.
    """
    winners = best(measurements)
    rows = [{**dataclasses.asdict(one), "best": any(one is winner for winner in winners)} for one in measurements]
    return {"model": model, "dtype": dtype, "peak_tflops": peak_tflops, "command": command, **environment(), "rows": rows}


def table(result: dict[str, Any]) -> str:
    """`record` as text: a headline, and a line for each measurement, with a star at the best batch of its kind."""
    device, rows = result["device"], result["rows"]
    peak = "peak unknown" if result["peak_tflops"] is None else f"peak {result['peak_tflops']:g} TFLOP/s each"
    clip = f"{rows[0]['frames']}x{rows[0]['size']}x{rows[0]['size']}"
    head = f"{result['model']}, clips {clip}, {result['dtype']}, {device['count']} x {device['kind']}, {peak}"
    lines = [_line(_COLUMNS)] + [_line(_cells(row)) + (" *" if row["best"] else "") for row in rows]
    return "\n".join([head, *lines])


def _line(cells: Sequence[str]) -> str:
    padded = (f"{cell:<{-width}}" if width < 0 else f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS, strict=False))
    return "  ".join(padded).rstrip()


def _cells(row: dict[str, Any]) -> list[str]:
    if not row["fits"]:
        return [row["work"], str(row["batch"]), "does not fit into memory"]
    mfu, memory = row["mfu"], row["memory_bytes"]
    return [
        row["work"],
        str(row["batch"]),
        f"{row['seconds'] * 1e3:.2f}",
        f"{row['frames_per_second']:,.1f}",
        f"{row['tflops_per_second']:,.3g}",
        "-" if mfu is None else f"{mfu:.1%}",
        f"{row['compile_seconds']:.1f}",
        "-" if memory is None else f"{memory / 1e9:.3g}",
    ]
