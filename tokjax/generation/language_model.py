"""A decoder-only transformer over the codes of images and videos (OmniTokenizer, arXiv 2406.09399, section 3.3).

A sequence is a prefix, which tells the class or that there is none, and the codes frame by frame and row by row; the model gives
each code's probability from what is before it.

mode="published" is the original: its ids (tokjax.generation.vocabulary), a start token before or after the class, and a condition
that is dropped for a whole batch at once by leaving out the start token and keeping the class, so that the branch which guidance
uses as unconditional, a start token alone, is never trained. Without classes the prefix is the id 0, which code 0 has too.
mode="sound" has one condition in front, and drops it for each sample by itself for the absent one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from tokjax.generation.decoder_block import Block, BlockStyle, Memory, Turns, norm
from tokjax.generation.rotation import angles, grid_places
from tokjax.generation.vocabulary import Digits, OneTable, Pick
from tokjax.models.mesh import exchange

Batch = dict[str, jax.Array]


class LanguageModel(nn.Module):
    """Attributes:
    grid: (t,h,w) of the codes.
    codes: how many there are; factors: digits they are written in, or () for one.
    classes: 0 without; start_token, class_first: of the published mode.
    positions: slots of a sequence; 0 takes as many as training needs.
    condition_dropout: how often training goes without condition.
    """

    style: BlockStyle
    depth: int
    grid: tuple[int, int, int]
    codes: int
    factors: tuple[int, ...] = ()
    classes: int = 0
    mode: str = "sound"
    start_token: bool = False
    class_first: bool = False
    positions: int = 0
    condition_dropout: float = 0.1
    remat: bool = False

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LanguageModel:
        """Of `config.model`."""
        style = BlockStyle(config["width"], config["heads"], config["block"], config["dtype"])
        same = ("depth", "codes", "classes", "mode", "start_token", "class_first", "positions", "condition_dropout", "remat")
        sizes = {"grid": tuple(config["grid"]), "factors": tuple(config["factors"])}
        return cls(style, **sizes, **{name: config[name] for name in same})

    def setup(self) -> None:
        width, dtype = self.style.width, self.style.dtype
        if self.mode == "published":
            self.words = OneTable(self.first_code + self.codes, width, dtype)
        else:
            self.words = Digits(self.first_code, self.factors or (self.codes,), width, dtype)
        if self.style.kind == "published":
            self.places = self.param("places", nn.initializers.zeros, (self.slots, width))
        made = nn.remat(Block) if self.remat else Block
        self.blocks = [made(self.style) for _ in range(self.depth)]
        self.norm_out = norm(self.style)

    @property
    def tokens(self) -> int:
        """Codes of a sample."""
        return math.prod(self.grid)

    @property
    def first_code(self) -> int:
        """The id of code 0."""
        return self.classes + (self.start_token if self.mode == "published" else 1)

    @property
    def prefix_length(self) -> int:
        return 2 if self.mode == "published" and self.classes and self.start_token else 1

    @property
    def slots(self) -> int:
        """The longest sequence that is fed in; the last code never is."""
        return self.positions or self.prefix_length + self.tokens - 1

    def prefix(self, labels: jax.Array) -> jax.Array:
        """Labels int [b] -> the ids before the first code [b,prefix_length]; -1 stands for no condition."""
        labels = jnp.asarray(labels)
        if not self.classes:  # the data may have labels all the same
            return jnp.zeros((len(labels), 1), jnp.int32)
        if self.mode == "sound":
            return jnp.where(labels < 0, self.classes, labels)[:, None]
        label = labels + self.start_token
        parts = [jnp.zeros_like(label), label][1 - self.start_token :]
        return jnp.stack(parts[::-1] if self.class_first else parts, axis=1)

    def example(self) -> Batch:
        """A batch of one, for shapes."""
        return {"tokens": jnp.zeros((1, *self.grid), jnp.int32), "label": jnp.zeros((1,), jnp.int32)}

    def __call__(self, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
        return self.losses(batch, jax.random.key(0))

    def losses(self, batch: Batch, key: jax.Array, train: bool = True) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The cross-entropy in nats of a code, and terms to look at.

        Args:
          batch: `tokens` int [b,t,h,w] and `label` int [b], -1 for none.
          key: of the conditions that are dropped, which without `train` none is.
        """
        codes = batch["tokens"].reshape(len(batch["tokens"]), -1) + self.first_code
        logits = self.logits(codes, batch["label"], key if train else None)
        entropy, hits = 0.0, True
        for one, digit in zip(logits, self.words.digits(codes), strict=True):
            entropy += optax.softmax_cross_entropy_with_integer_labels(one.astype(jnp.float32), digit).mean()
            hits &= jnp.argmax(one, axis=-1) == digit
        return entropy, {"loss": entropy, "accuracy": jnp.mean(hits), "perplexity": jnp.exp(entropy)}

    def logits(self, ids: jax.Array, labels: jax.Array, key: jax.Array | None = None) -> list[jax.Array]:
        """Of every code in ids [b,n], from those before it: [b,n,v] for each digit."""
        labels, shift = self._dropped(labels, key)
        sequence = jnp.concatenate([self.prefix(labels), ids[:, :-1]], axis=1)
        if shift is not None:
            sequence = jnp.where(shift, self._without_start(sequence), sequence)
        hidden = self.hidden(sequence)
        first = self.prefix_length - 1
        if shift is not None:
            hidden = jax.lax.dynamic_slice_in_dim(hidden, jnp.where(shift, first - 1, first), ids.shape[1], axis=1)
        else:
            hidden = hidden[:, first:]
        return self.words.logits(hidden, ids)

    def hidden(self, ids: jax.Array) -> jax.Array:
        """What the model knows after each of the ids [b,s]: [b,s,width]."""
        x, turns = self._embedded(ids, 0)
        x = exchange(x, 1)
        for block in self.blocks:
            x = block(x, turns)
        return self.norm_out(x)

    def empty_memory(self, rows: int) -> list[Memory]:
        style = self.style
        shape = (rows, self.slots, style.heads, style.width // style.heads)
        return [Memory(*(jnp.zeros(shape, style.dtype) for _ in range(2))) for _ in range(self.depth)]

    def further(
        self, ids: jax.Array, start: jax.Array | int, memory: list[Memory], visible: jax.Array, pick: Pick
    ) -> tuple[jax.Array, list[Memory]]:
        """Feeds ids [r,n] into the slots from `start` on and chooses the id after the last visible one of each row.

        Args:
          visible: bool [r,slots]; the id in a slot that is not visible is as good as absent.
        """
        x, turns = self._embedded(ids, start)
        memories = []
        for block, one in zip(self.blocks, memory, strict=True):
            x, one = block.further(x, turns, one, start, visible)
            memories.append(one)
        new = jax.lax.dynamic_slice_in_dim(visible, start, ids.shape[1], axis=1)
        last = ids.shape[1] - 1 - jnp.argmax(new[:, ::-1], axis=1)
        hidden = self.norm_out(x[jnp.arange(len(x)), last])
        return self.words.choose(hidden, pick), memories

    def _embedded(self, ids: jax.Array, start: jax.Array | int) -> tuple[jax.Array, Turns | None]:
        x, count = self.words(ids), ids.shape[1]
        if self.style.kind == "published":
            return x + jax.lax.dynamic_slice_in_dim(self.places, start, count), None
        here = (jax.lax.dynamic_slice_in_dim(jnp.asarray(table), start, count) for table in self._angles())
        return x, Turns(*here)

    def _angles(self) -> tuple[np.ndarray, np.ndarray]:
        """A key lies where its code does and a query where the code does that comes next; the condition lies before the grid."""
        channels, places = self.style.width // self.style.heads, grid_places(self.grid)
        own = np.concatenate([[[-1, 0, 0]], places[:-1]])
        return angles(places, channels), angles(own, channels)

    def _dropped(self, labels: jax.Array, key: jax.Array | None) -> tuple[jax.Array, jax.Array | None]:
        """Labels, some replaced by none (sound), and whether the start token is left out (published; None: it never is)."""
        if key is None or not self.condition_dropout or not self.classes:
            return labels, None
        if self.mode == "sound":
            return jnp.where(jax.random.bernoulli(key, self.condition_dropout, labels.shape), -1, labels), None
        return labels, jax.random.bernoulli(key, self.condition_dropout) if self.start_token else None

    def _without_start(self, sequence: jax.Array) -> jax.Array:
        """The sequence moved up, of the same length; what then stands last is seen by nothing."""
        at = 1 if self.class_first else 0
        return jnp.concatenate([sequence[:, :at], sequence[:, at + 1 :], sequence[:, -1:]], axis=1)
