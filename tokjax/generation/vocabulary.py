"""The language model's words: conditions and codes as one line of ids, their embeddings, and the logits of the next code.

"published" (OmniTokenizer): a start token where there is one, then the classes, then the codes; one table of embeddings, one head
over all ids. "sound": the classes, the absent condition, then the codes, and a head over codes alone, which nothing else can be
drawn from. There a codebook too large for a table is written in digits, as 262,144 = 512 * 512: a code's embedding is the sum of
those of its digits, and its probability the product of those of each digit given the digits before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp

from tokjax.models.token_layers import Linear

Pick = Callable[[jax.Array, int], jax.Array]  # logits [r,v] of a digit, which digit -> what is chosen, int [r]


class OneTable(nn.Module):
    """Ids 0..ids-1, all of them as published."""

    ids: int
    width: int
    dtype: str = "float32"

    def setup(self) -> None:
        self.table = nn.Embed(self.ids, self.width, embedding_init=nn.initializers.normal(0.02))
        self.head = Linear(self.ids, bias=False, init="vit", dtype=self.dtype, split=1)

    def __call__(self, ids: jax.Array) -> jax.Array:
        return self.table(ids)

    def logits(self, hidden: jax.Array, targets: jax.Array) -> list[jax.Array]:
        """One [...,ids], for any targets."""
        return [self.head(hidden)]

    def digits(self, targets: jax.Array) -> list[jax.Array]:
        """What the logits are of: the ids themselves."""
        return [targets]

    def choose(self, hidden: jax.Array, pick: Pick) -> jax.Array:
        """hidden [r,width] -> ids, as many as `pick` gives."""
        return pick(self.head(hidden), 0)


class Digits(nn.Module):
    """Conditions 0..conditions-1, then the codes, each a number with digits of these bases."""

    conditions: int
    bases: tuple[int, ...]
    width: int
    dtype: str = "float32"

    def setup(self) -> None:
        drawn = nn.initializers.normal(0.02)
        self.condition = nn.Embed(self.conditions, self.width, embedding_init=drawn)
        self.tables = [nn.Embed(base, self.width, embedding_init=drawn) for base in self.bases]
        self.heads = [Linear(base, bias=False, init="vit", dtype=self.dtype, split=1) for base in self.bases]
        # What the digits before tell the head of the next.
        self.told = [nn.Embed(base, self.width, embedding_init=drawn) for base in self.bases[:-1]]

    def __call__(self, ids: jax.Array) -> jax.Array:
        condition = self.condition(jnp.minimum(ids, self.conditions - 1))
        code = sum(table(digit) for table, digit in zip(self.tables, self.digits(ids), strict=True))
        return jnp.where((ids < self.conditions)[..., None], condition, code)

    def digits(self, ids: jax.Array) -> list[jax.Array]:
        """The digits of codes, the most significant first; of what is no code, those of code 0."""
        codes, place = jnp.maximum(ids - self.conditions, 0), math.prod(self.bases)
        found = []
        for base in self.bases:
            place //= base
            found.append(codes // place % base)
        return found

    def logits(self, hidden: jax.Array, targets: jax.Array) -> list[jax.Array]:
        """Of each digit given those of the target before it, [...,base]."""
        digits = self.digits(targets)
        return [head(hidden) for head, hidden in zip(self.heads, self._told(hidden, iter(digits)), strict=True)]

    def choose(self, hidden: jax.Array, pick: Pick) -> jax.Array:
        """hidden [r,width] -> ids, as many as `pick` gives; where they are fewer, the rows share them in turn."""
        code, digit = 0, None
        for number, (base, head) in enumerate(zip(self.bases, self.heads, strict=True)):
            if digit is not None:
                told = self.told[number - 1](digit)
                hidden = hidden + jnp.tile(told, (len(hidden) // len(told), 1))
            digit = pick(head(hidden), number)
            code = code * base + digit
        return code + self.conditions

    def _told(self, hidden: jax.Array, digits: Iterator[jax.Array]) -> Iterator[jax.Array]:
        yield hidden
        for table in self.told:
            hidden = hidden + table(next(digits))
            yield hidden
