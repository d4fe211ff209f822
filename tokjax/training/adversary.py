"""The other player: discriminators with an optimizer of their own, and what of them must survive a restart."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from tokjax.losses.augment import augment
from tokjax.models.discriminators import Discriminators, build_discriminator
from tokjax.training.optimizers import make_optimizer

if TYPE_CHECKING:
    from ml_collections import ConfigDict

Verdict = tuple[dict[str, jax.Array], dict[str, list[jax.Array]]]  # logits and features, both by "image" and "video"


@flax.struct.dataclass
class AdversaryState:
    """Attributes:
    params: the discriminators' parameters, by "image" and "video".
    batch_stats: running statistics of their norms; {} where there are none.
    averages: LeCAM's averages of logits, float32 [2] for each discriminator; {} without LeCAM.
    optimizer: the optimizer's state.
    """

    params: Any
    batch_stats: Any
    averages: dict[str, jax.Array]
    optimizer: optax.OptState


@dataclasses.dataclass(frozen=True)
class Adversary:
    """Attributes:
    module: the discriminators.
    optimizer: of their parameters.
    lecam: whether averages of their logits are kept.
    policy: augmentations of what they see, or "".
    """

    module: Discriminators
    optimizer: optax.GradientTransformation
    lecam: bool
    policy: str

    def initial_state(self, key: jax.Array) -> AdversaryState:
        """Before the first step; a pure function of the key."""
        rngs = dict(zip(("params", "noise"), jax.random.split(key), strict=True))
        variables = self.module.init(rngs, jnp.zeros((1, 5, 32, 32, 3)))
        params = variables["params"]
        averages = {name: jnp.zeros(2) for name in params} if self.lecam else {}
        return AdversaryState(params, variables.get("batch_stats", {}), averages, self.optimizer.init(params))

    def judges(self, frames: int) -> bool:
        """Whether clips of so many frames are judged: OmniTokenizer's discriminator of clips alone sees no images."""
        clips_only = self.module.image is None and self.module.video.kind == "omni_video"
        return frames > 1 or not clips_only

    def look(
        self, params: Any, batch_stats: Any, video: jax.Array, frames: jax.Array | None, key: jax.Array, damage: bool = True
    ) -> tuple[Verdict, Any]:
        """The verdict on videos [b,t,h,w,3], and the running statistics after it.

        Args:
          frames: those that the discriminator of images sees, [b,n,h,w,3]; None shows it all.
          key: of noise and augmentation.
          damage: augment what is seen, where the config says so.
        """
        for_noise, for_damage = jax.random.split(key)
        variables = {"params": params, "batch_stats": batch_stats}
        damaging = partial(augment, policy=self.policy) if self.policy and damage else None
        rngs = {"noise": for_noise, "augment": for_damage}
        verdict, changed = self.module.apply(variables, video, frames, True, damaging, rngs=rngs, mutable=["batch_stats"])
        return verdict, {**batch_stats, **changed.get("batch_stats", {})}


def make_adversary(config: ConfigDict) -> Adversary | None:
    """The discriminators of a config, or None where it asks for none."""
    if not config.discriminator.kind:
        return None
    optimizer = make_optimizer(config.discriminator_optimizer, config.training.steps, config.training.batches_per_update)
    return Adversary(
        build_discriminator(config.discriminator), optimizer, config.loss.lecam_weight > 0, config.discriminator.augment
    )
