"""Where runs go on this machine: one at a time on all of it, or one on each device or share of the cores."""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
import subprocess
from collections.abc import Mapping

from tokjax.errors import require


@dataclasses.dataclass(frozen=True)
class Slot:
    """Attributes:
    name: "GPU 3", "cores 0-3", or "this machine".
    environment: what a process there gets beside ours.
    cores: the only ones it may use; none restricts it to none.
    """

    name: str = "this machine"
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cores: tuple[int, ...] = ()


def slots_for(parallel: int | None) -> list[Slot]:
    """One slot without `parallel`; with 0 one for each GPU, else for so many GPUs or, without any, shares of the cores.

    Raises:
      ConfigError: there are not so many.
    """
    if parallel is None:
        return [Slot()]
    gpus = _gpus()
    if gpus:
        require(parallel <= len(gpus), f"--parallel {parallel}: this machine has {len(gpus)} GPUs for it")
        return [Slot(f"GPU {gpu}", {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in gpus[: parallel or None]]
    cores = sorted(os.sched_getaffinity(0))
    require(parallel > 0, "--parallel found no GPU here; say how many runs share the cores, as in --parallel 2")
    require(parallel <= len(cores), f"--parallel {parallel}: this machine has {len(cores)} cores for it")
    bounds = [len(cores) * i // parallel for i in range(parallel + 1)]
    shares = [tuple(cores[a:b]) for a, b in itertools.pairwise(bounds)]
    return [Slot(f"cores {','.join(map(str, share))}", {}, share) for share in shares]


def _gpus() -> list[str]:
    """As CUDA_VISIBLE_DEVICES names them; JAX_PLATFORMS may have ruled them out."""
    if os.environ.get("JAX_PLATFORMS", "") == "cpu":
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True)
    return listed.stdout.split() if listed.returncode == 0 else []
