"""How fast a model encodes, decodes and trains on this machine, on synthetic clips.

A number is the median over repeats after a warm-up, each repeat timed from the call to its last result being ready on the device.
FLOPs are those of the direct convolutions (`tokjax.models.cost.count_flops`, 2 per multiply-accumulate), whatever form this
machine computes them in, and without what is recomputed to save memory: the model's work, not the machine's.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import TYPE_CHECKING, Any

import jax

from tokjax.models.convolution import CONVOLUTION_FORM
from tokjax.models.cost import count_flops
from tokjax.training.sharding import make_mesh
from tokjax.training.workloads import WORKS, Clips, Workload, make_workload, random_variables

if TYPE_CHECKING:
    from jax.sharding import Mesh
    from ml_collections import ConfigDict

_WARM_UP = 2  # calls that are not timed


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One kind of work at one batch size. Of a batch that does not fit into memory, nothing below `flops` is known.

    Attributes:
      work: "encode", "decode", "reconstruct" (encode, then decode) or "train" (one step, optimizer included).
      batch, frames, size: of the clips, over all devices; height and width are `size`.
      flops: of one call, over all devices.
      seconds, fastest, slowest: median and extremes of the repeats.
      frames_per_second: batch * frames / seconds.
      tflops_per_second: flops / seconds / 1e12.
      mfu: model FLOPs utilization, the share of the peak of all devices; None where the peak is not known.
      compile_seconds: tracing and compilation; little where a persistent compilation cache held the program.
      memory_bytes: peak on one device, and in `memory_source` whose word that is: what the "device" counted, or what the
        "compiler" planned (arguments, results, temporaries) where the device counts nothing or had a higher peak before.
    """

    work: str
    batch: int
    frames: int
    size: int
    flops: int
    fits: bool = False
    repeats: int = 0
    seconds: float | None = None
    fastest: float | None = None
    slowest: float | None = None
    frames_per_second: float | None = None
    tflops_per_second: float | None = None
    mfu: float | None = None
    compile_seconds: float | None = None
    memory_bytes: int | None = None
    memory_source: str | None = None


def measure(
    module: Any,
    variables: Any | None,
    frames: int,
    size: int,
    batch: int,
    work: str,
    *,
    config: ConfigDict | None = None,
    repeats: int = 10,
    peak_tflops: float | None = None,
    mesh: Mesh | None = None,
) -> Measurement:
    """Times one kind of work. A batch that does not fit into memory is a Measurement with `fits` False.

    Args:
      module: a model that `tokjax.models.tokenizer.build` made.
      variables: its weights; None draws them. A training step always starts from a new state.
      frames, size: of the clips.
      batch: clips over all devices.
      work: one of `WORKS`.
      config: the whole config, of which "train" reads loss, optimizer, training and seed, as keys and as attributes.
      peak_tflops: of one device, for the utilization.
      mesh: devices; None takes all that there are, each with its share of the batch.

    Raises:
      ValueError: no such work, a length or size that the model pads, a batch that does not split, or no config to train with.
    """
    clips = Clips(batch, frames, size)
    mesh = make_mesh({"data": -1, "fsdp": 1, "context": 1}) if mesh is None else mesh
    check(module, clips, work, config, repeats, mesh)
    if variables is None and work != "train":
        variables = random_variables(module, mesh)
    known = {"work": work, **dataclasses.asdict(clips), "flops": _flops(work, module, variables, clips, config, mesh)}
    workload = make_workload(work, module, variables, clips, config, mesh)
    try:
        run, compile_seconds = _compile(workload)
        seconds, (memory, source) = _time(run, workload, repeats)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Measurement(**known)
    plan = {"compile_seconds": compile_seconds, "memory_bytes": memory, "memory_source": source}
    return Measurement(**known, fits=True, **_rates(known, seconds, peak_tflops and peak_tflops * mesh.size), **plan)


def _rates(known: dict[str, Any], seconds: list[float], peak: float | None) -> dict[str, Any]:
    """What follows from the seconds of each repeat; `peak` is that of all devices."""
    median = statistics.median(seconds)
    rate = known["flops"] / median / 1e12
    return {
        "repeats": len(seconds),
        "seconds": median,
        "fastest": min(seconds),
        "slowest": max(seconds),
        "frames_per_second": known["batch"] * known["frames"] / median,
        "tflops_per_second": rate,
        "mfu": None if peak is None else rate / peak,
    }


def check(module: Any, clips: Clips, work: str, config: ConfigDict | None, repeats: int, mesh: Mesh) -> None:
    """Refuses what cannot be measured, before anything is allocated; see `measure`."""
    if work not in WORKS:
        raise ValueError(f"unknown work {work!r} to measure; there are: {', '.join(WORKS)}")
    least = min(clips.frames, clips.size, clips.batch, repeats)
    if least < 1:
        raise ValueError(f"frames, size, batch and repeats must be at least 1, not {least}")
    _check_padding(module, clips)
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    if clips.batch % parts:
        raise ValueError(f"a batch of {clips.batch} clips does not split over {parts} devices; use a multiple of {parts}")
    if work == "train":
        if config is None:
            raise ValueError("measuring a training step needs the config it trains with, for its loss and optimizer")
        turns = config.training.accumulation
        if clips.batch % turns:
            raise ValueError(f"config.training.accumulation {turns} does not divide the batch of {clips.batch} clips")


def _check_padding(module: Any, clips: Clips) -> None:
    """Copies in front of a clip are a causal model's own arithmetic; those behind and beside it would be waste in the number."""
    frames, size = clips.frames, clips.size
    if module.pad_frames(frames)[1]:
        whole = [n for n in range(1, 2 * frames + 64) if not module.pad_frames(n)[1]]
        near = [n for n in whole if n < frames][-1:] + [n for n in whole if n > frames][:1]
        raise ValueError(f"this model pads clips of {frames} frames; measure a length that it does not: {_either(near)}")
    if module.pad_sides(size, size) != (size, size):
        below = [n for n in range(1, size) if module.pad_sides(n, n) == (n, n)]
        near = [*below[-1:], max(module.pad_sides(size, size))]
        raise ValueError(f"this model pads sides of {size} pixels; measure a size that it does not: {_either(near)}")


def _either(values: list[int]) -> str:
    return " or ".join(map(str, values))


def _flops(work: str, module: Any, variables: Any, clips: Clips, config: ConfigDict | None, mesh: Mesh) -> int:
    """Of a workload of its own, since jax keeps what it traced and would hand the direct convolutions to the measured one."""
    stored = module.clone(remat=False) if getattr(module, "remat", False) else module
    token = CONVOLUTION_FORM.set("direct")
    try:
        workload = make_workload(work, stored, variables, clips, config, mesh)
        return count_flops(workload.function, *workload.shapes)
    finally:
        CONVOLUTION_FORM.reset(token)


def _compile(workload: Workload) -> tuple[jax.stages.Compiled, float]:
    start = time.perf_counter()
    jitted = jax.jit(workload.function, out_shardings=workload.out_shardings, donate_argnums=(0,) if workload.trains else ())
    compiled = jitted.lower(*workload.shapes).compile()
    return compiled, time.perf_counter() - start


def _time(run: jax.stages.Compiled, workload: Workload, repeats: int) -> tuple[list[float], tuple[int | None, str | None]]:
    """Seconds of each repeat, and the peak memory with its source."""
    before = _device_peak()  # after compilation, whose trials of convolutions count too
    first, second = jax.block_until_ready(workload.make())
    seconds = []
    for _ in range(_WARM_UP + repeats):
        start = time.perf_counter()
        results = jax.block_until_ready(run(first, second))
        seconds.append(time.perf_counter() - start)
        first = results[0] if workload.trains else first
        del results  # so that two calls' results are never held at once
    after = _device_peak()
    memory = (after, "device") if after and after > before else _planned(run)
    return seconds[_WARM_UP:], memory


def _device_peak() -> int:
    """The most bytes that were in use on the first device since the process began; 0 where the device does not count."""
    return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)


def _planned(run: jax.stages.Compiled) -> tuple[int | None, str | None]:
    plan = run.memory_analysis()
    if plan is None:
        return None, None
    held = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    return held + plan.temp_size_in_bytes, "compiler"
