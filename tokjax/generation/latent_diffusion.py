"""A model of latents: the network, what it learns from them, and how they are scaled for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from tokjax.generation.diffusion_process import flow_losses, noise_losses
from tokjax.generation.diffusion_transformer import DiffusionTransformer
from tokjax.generation.noise_schedule import make_schedule

Batch = dict[str, jax.Array]
PUBLISHED_SCALE = 0.18215  # Stable Diffusion's, which OmniTokenizer's diffusion models use for its own latents


class LatentDiffusion(nn.Module):
    """Attributes:
    prediction: "noise", or "flow" for flow matching.
    scaling: factor of the latents; 0 takes the mean and deviation of each channel, kept in the collection "latents".
    condition_dropout: how often a sample is trained without its class.
    """

    network: DiffusionTransformer
    prediction: Literal["noise", "flow"] = "noise"
    scaling: float = 0.0
    condition_dropout: float = 0.1

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LatentDiffusion:
        """Of `config.model`."""
        network = DiffusionTransformer.from_config(config)
        return cls(network, config["prediction"], config["scaling"], config["condition_dropout"])

    def setup(self) -> None:
        if not self.scaling:
            channels = self.network.channels
            self.mean = self.variable("latents", "mean", jnp.zeros, (channels,))
            self.deviation = self.variable("latents", "deviation", jnp.ones, (channels,))

    @property
    def grid(self) -> tuple[int, int, int]:
        return self.network.grid

    @property
    def classes(self) -> int:
        return self.network.classes

    def example(self) -> Batch:
        """A batch of one, for shapes."""
        shape = (1, *self.grid, self.network.channels)
        return {"tokens": jnp.zeros(shape), "label": jnp.zeros((1,), jnp.int32)}

    def __call__(self, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
        return self.losses(batch, jax.random.key(0))

    def losses(self, batch: Batch, key: jax.Array, train: bool = True) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss and its terms.

        Args:
          batch: `tokens` float [b,t,h,w,c], the tokenizer's latents, and `label` int [b], -1 for none.
          key: of noise, levels and the conditions that are dropped, which without `train` none is.
        """
        latents, labels = self.scaled(batch["tokens"]), batch["label"]
        for_level, for_noise, for_drop = jax.random.split(key, 3)
        if train:
            labels = jnp.where(jax.random.bernoulli(for_drop, self.condition_dropout, labels.shape), -1, labels)
        noise, count = jax.random.normal(for_noise, latents.shape), len(latents)

        def network(x: jax.Array, level: jax.Array) -> jax.Array:
            return self.output(x, level, labels)

        if self.prediction == "flow":
            terms = flow_losses(network, latents, jax.random.uniform(for_level, (count,)), noise)
        else:
            schedule = make_schedule()
            step = jax.random.randint(for_level, (count,), 0, len(schedule))
            terms = noise_losses(schedule, network, latents, step, noise)
        terms = {name: term.mean() for name, term in terms.items()}
        loss = sum(terms.values())
        return loss, {"loss": loss, **terms}

    def output(self, x: jax.Array, level: jax.Array, labels: jax.Array) -> jax.Array:
        """Of the network, float32; label -1 means none, and without classes every label does."""
        none = labels < 0 if self.classes else jnp.ones_like(labels, bool)
        return self.network(x, level, jnp.where(none, self.classes, labels)).astype(jnp.float32)

    def scaled(self, latents: jax.Array) -> jax.Array:
        """The tokenizer's latents as the network wants them."""
        return latents * self.scaling if self.scaling else (latents - self.mean.value) / self.deviation.value

    def unscaled(self, latents: jax.Array) -> jax.Array:
        """And back."""
        return latents / self.scaling if self.scaling else latents * self.deviation.value + self.mean.value
