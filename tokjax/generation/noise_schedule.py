"""How much noise there is at each step of diffusion, and which steps are taken (DDPM, arXiv 2006.11239; 2102.09672)."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

STEPS = 1000


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Of the steps that are taken, from little noise to much, float64 [n] each.

    Attributes:
      levels: their numbers among all 1000, int [n], which the network is told.
      betas: variance of the noise that a step adds.
      kept: share of the latents' variance that is left, the product of 1 - beta.
      variance, log_variance: of the step back when the latents are known; log_variance is finite at step 0 too.
      mean_of_latents, mean_of_noisy: that step's mean is the first times the latents plus the second times the noisy latents.
    """

    levels: np.ndarray
    betas: np.ndarray
    kept: np.ndarray
    variance: np.ndarray
    log_variance: np.ndarray
    mean_of_latents: np.ndarray
    mean_of_noisy: np.ndarray

    def __len__(self) -> int:
        return len(self.levels)


def make_schedule(respacing: str = "") -> Schedule:
    """The linear schedule of 1000 steps from 1e-4 to 0.02, or some of its steps.

    Args:
      respacing: "" for all; "250" for so many, evenly; "10,15,20" for so many of each third; "ddim50" for every 20th.

    Raises:
      ValueError: another text, or more steps than there are.
    """
    levels = respaced(respacing)
    every = np.cumprod(1 - np.linspace(1e-4, 0.02, STEPS))
    before = np.append(1.0, every[levels][:-1])
    betas = 1 - every[levels] / before
    kept = np.cumprod(1 - betas)
    previous = np.append(1.0, kept[:-1])
    variance = betas * (1 - previous) / (1 - kept)
    return Schedule(
        levels=levels,
        betas=betas,
        kept=kept,
        variance=variance,
        log_variance=np.log(np.append(variance[1:2], variance[1:]) if len(levels) > 1 else betas),
        mean_of_latents=betas * np.sqrt(previous) / (1 - kept),
        mean_of_noisy=(1 - previous) * np.sqrt(1 - betas) / (1 - kept),
    )


def respaced(respacing: str) -> np.ndarray:
    """The numbers of the steps that are taken, ascending."""
    text = respacing.removeprefix("ddim")
    counts = [int(part) for part in text.split(",")] if re.fullmatch(r"ddim\d+|\d+(,\d+)*", respacing) else []
    if respacing and (not counts or min(counts) < 1 or sum(counts) > STEPS):
        raise ValueError(
            f"{respacing!r} is no choice of {STEPS} steps; give a number as 250, numbers for equal parts as 10,15,20, or ddim50"
        )
    if not respacing:
        return np.arange(STEPS)
    return _every(counts[0]) if respacing.startswith("ddim") else _of_parts(counts)


def _every(count: int) -> np.ndarray:
    """0, n, 2n, ... for the n that gives so many."""
    for stride in range(1, STEPS):
        if len(range(0, STEPS, stride)) == count:
            return np.arange(0, STEPS, stride)
    raise ValueError(f"no stride takes exactly {count} of {STEPS} steps; try a divisor of {STEPS}")


def _of_parts(counts: list[int]) -> np.ndarray:
    """Evenly spaced in equal parts, both ends of a part included."""
    taken, begin = [], 0
    for number, count in enumerate(counts):
        size = STEPS // len(counts) + (number < STEPS % len(counts))
        if count > size:
            raise ValueError(f"{count} steps cannot be taken of a part of {size}; there are {STEPS} steps in {len(counts)} parts")
        stride = (size - 1) / (count - 1) if count > 1 else 1.0
        place = 0.0
        for _ in range(count):
            taken.append(begin + round(place))
            place += stride
        begin += size
    return np.array(taken)
