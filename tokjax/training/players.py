"""What the parts of a training step hand to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tokjax.losses.weight_files import Weights
    from tokjax.training.adversary import Adversary

Metrics = dict[str, jax.Array]


class Rules(NamedTuple):
    """What does not change from step to step.

    Attributes:
      adversary: None where nothing is judged.
      tokenizer: module that makes the tokens which a model of tokens learns from; None where they come ready.
    """

    model: Any
    adversary: Adversary | None
    config: ConfigDict
    tokenizer: Any = None


class Learned(NamedTuple):
    """What a step has gradients for; a part without any is None.

    Attributes:
      model: the parameters that train.
      loss: {"log_variance": scalar}.
      adversary: the discriminators' parameters.
    """

    model: Any
    loss: Any = None
    adversary: Any = None


class Carried(NamedTuple):
    """What changes without gradients, from one part of a batch to the next too; {} where there is nothing.

    Attributes:
      model: the model's collections.
      batch_stats: the discriminators' running statistics.
      averages: LeCAM's averages of logits.
    """

    model: dict[str, Any]
    batch_stats: Any
    averages: dict[str, jax.Array]


class Turn(NamedTuple):
    """Attributes:
    video: uint8 or float [b,t,h,w,3]; for models of tokens as of tokjax.training.generative.
    key: of everything that is drawn.
    step: steps taken before.
    perceptual: weights of the perceptual network, or of the tokenizer that works along, or None.
    """

    video: Any
    key: jax.Array
    step: jax.Array
    perceptual: Weights | None = None


class Outcome(NamedTuple):
    """What a forward pass gives beside the loss.

    Attributes:
      metrics: the losses and what they are made of, scalars.
      carried: what is carried on from it.
      indices: codes [b,t,h,w] or [b,t,h,w,n]; None where the model has none.
    """

    metrics: Metrics
    carried: Carried
    indices: jax.Array | None
