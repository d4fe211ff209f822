"""Samples of latents: from noise, step by step, under `jit`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from tokjax.generation.diffusion_process import Network, ancestral_step, implicit_step
from tokjax.generation.latent_diffusion import LatentDiffusion
from tokjax.generation.noise_schedule import Schedule, make_schedule


@dataclasses.dataclass(frozen=True)
class Denoising:
    """How latents are sampled.

    Attributes:
      method: "ddpm" or "ddim"; a model trained by flow matching goes straight, whatever it says.
      steps: as of `make_schedule`, such as "250" or "ddim50"; for flow matching a number.
      guidance: s in unconditional + s (conditional - unconditional); 1 asks the conditional branch alone.
      guided_channels: 0 guides all latent channels; published are the first 3 of 8 (DiT) and the first 4 (Latte).
    """

    method: Literal["ddpm", "ddim"] = "ddpm"
    steps: str = "250"
    guidance: float = 1.0
    guided_channels: int = 0

    def __post_init__(self) -> None:
        if self.method not in ("ddpm", "ddim"):
            raise ValueError(f"the method must be ddpm or ddim, not {self.method!r}")
        if not 0 <= self.guidance < float("inf"):
            raise ValueError(f"guidance is {self.guidance}; give a finite value of 0 or more")
        if self.guided_channels < 0:
            raise ValueError(f"guided_channels is {self.guided_channels}; give how many channels are guided, or 0 for all")


def guided(network: Callable[..., jax.Array], labels: jax.Array, guidance: float, channels: int) -> Network:
    """The network of (x, levels, labels) with guidance in the first `channels` of what it gives; the rest is conditional."""
    if guidance == 1:
        return lambda x, level: network(x, level, labels)

    def both(x: jax.Array, level: jax.Array) -> jax.Array:
        doubled = (jnp.concatenate([part, part]) for part in (x, level))
        given = network(*doubled, jnp.concatenate([labels, jnp.full_like(labels, -1)]))
        conditional, unconditional = jnp.split(given, 2)
        mixed = unconditional + guidance * (conditional - unconditional)
        return jnp.concatenate([mixed[..., :channels], conditional[..., channels:]], axis=-1)

    return both


def sample_latents(model: LatentDiffusion, variables: Any, labels: jax.Array, keys: jax.Array, how: Denoising) -> jax.Array:
    """The tokenizer's latents float32 [b,t,h,w,c], each sample a function of its own label and key.

    Args:
      labels: int [b]; -1 for none.
      keys: [b], of each sample.

    Raises:
      ValueError: steps that cannot be taken, guidance of a model without classes, or of more channels than latents have.
    """
    if how.guidance != 1 and not model.classes:
        raise ValueError("guidance needs a model of classes; this one has none")
    if how.guided_channels > model.network.channels:
        raise ValueError(f"guided_channels is {how.guided_channels}, but the latents have {model.network.channels}; 0 guides all")
    if model.prediction == "flow" and not (how.steps.isdecimal() and int(how.steps)):
        raise ValueError(f"flow matching takes a number of steps, not {how.steps!r}")
    return _sampled(model, variables, labels, keys, how)


@partial(jax.jit, static_argnums=(0, 4))
def _sampled(model: LatentDiffusion, variables: Any, labels: jax.Array, keys: jax.Array, how: Denoising) -> jax.Array:
    channels = model.network.channels
    shape = (*model.grid, channels)
    network = partial(model.apply, variables, method="output")
    network = guided(network, labels, how.guidance, how.guided_channels or channels)

    def drawn(number: jax.Array | int) -> jax.Array:
        return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, number), shape))(keys)

    if model.prediction == "flow":
        x = straight(network, drawn(0), int(how.steps))
    else:
        x = denoised(make_schedule(how.steps), network, drawn(0), how.method, lambda number: drawn(number + 1))[-1]
    return model.apply(variables, x, method="unscaled")


def denoised(
    schedule: Schedule, network: Network, x: jax.Array, method: str, noise: Callable[[jax.Array], jax.Array], every: bool = False
) -> jax.Array:
    """From noise x at the last step to latents: the last one alone [1,...], or with `every` x after each step [n,...].

    Args:
      noise: of the n-th step taken, from 0, shaped as x.
    """

    def one(x: jax.Array, number: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        step = len(schedule) - 1 - number
        output = network(x, jnp.full(len(x), jnp.asarray(schedule.levels)[step]))
        if method == "ddim":
            x = implicit_step(schedule, output, x, step)
        else:
            x = ancestral_step(schedule, output, x, step, noise(number))
        return x, x if every else None

    last, passed = jax.lax.scan(one, x, jnp.arange(len(schedule)))
    return passed if every else last[None]


def straight(network: Network, x: jax.Array, steps: int) -> jax.Array:
    """Along the directions that flow matching has learned, from noise at time 1 to latents at time 0, in equal steps."""

    def one(x: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
        time = 1 - number / steps
        return x - network(x, jnp.full(len(x), 1000 * time)) / steps, None

    return jax.lax.scan(one, x, jnp.arange(steps))[0]
