"""From logits to the logits that a token is drawn from: temperature, guidance, top-k and nucleus, in this order."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Drawing:
    """How tokens are drawn.

    Attributes:
      temperature: above 0; logits are divided by it.
      top_k: how many of the largest logits stay; 0 keeps all.
      top_p: the most likely tokens stay until their probabilities reach it; 1 keeps all.
      guidance: s in (1 + s) conditional - s unconditional; 0 asks the conditional branch alone.
      guidance_grows: the guidance of the n-th token, from 0, is n times that (published as `scale_cfg`).
      greedy: take the most likely token.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    guidance: float = 0.0
    guidance_grows: bool = False
    greedy: bool = False

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; give a value above 0, or take the most likely tokens")
        if self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"top_k is {self.top_k} and top_p is {self.top_p}; top_k is 0 or more, top_p above 0 and at most 1")
        if not 0 <= self.guidance < float("inf"):
            raise ValueError(f"guidance is {self.guidance}; give a finite value of 0 or more")


def to_draw_from(logits: jax.Array, how: Drawing, number: jax.Array | int) -> jax.Array:
    """Logits [r,v] of the next token, those that are left out at -inf, float32.

    Args:
      logits: with guidance the conditional rows, then as many unconditional ones, [2r,v].
      number: of the token, from 0.
    """
    logits = logits.astype(jnp.float32) / how.temperature
    if how.guidance:
        conditional, unconditional = jnp.split(logits, 2)
        strength = how.guidance * number if how.guidance_grows else how.guidance
        logits = (1 + strength) * conditional - strength * unconditional
    return logits if how.greedy else nucleus(top(logits, how.top_k), how.top_p)


def top(logits: jax.Array, count: int) -> jax.Array:
    """The logits that are no smaller than the `count`-th largest; the others become -inf. 0 keeps all."""
    if not 0 < count < logits.shape[-1]:
        return logits
    least = jax.lax.top_k(logits, count)[0][..., -1:]
    return jnp.where(logits < least, -jnp.inf, logits)


def nucleus(logits: jax.Array, share: float) -> jax.Array:
    """Keeps each token before which, in order of probability, at most `share` has been reached (Holtzman et al., 1904.09751)."""
    if share >= 1:
        return logits
    order = jnp.argsort(-logits, axis=-1, stable=True)
    probability = jax.nn.softmax(jnp.take_along_axis(logits, order, axis=-1))
    before = jnp.cumsum(probability, axis=-1) - probability
    place = jnp.argsort(order, axis=-1)
    return jnp.where(jnp.take_along_axis(before > share, place, axis=-1), -jnp.inf, logits)
