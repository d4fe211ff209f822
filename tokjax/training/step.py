"""The training step: one pure function of (state, video), jitted once per clip shape.

One forward pass of the tokenizer feeds both players: the generator's losses go back through it once, and the discriminators learn
from the same reconstruction. A step in which anything of either is not finite leaves the whole state as it was and is counted in
`state.nonfinite`; the loop decides what to do about it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax
from einops import rearrange

from tokjax.generation.families import is_generator
from tokjax.quantizers.usage import batch_statistics
from tokjax.training import discriminator, forward, generator
from tokjax.training.adversary import make_adversary
from tokjax.training.generative import token_loss
from tokjax.training.optimizers import merge, split
from tokjax.training.paths import matching
from tokjax.training.players import Carried, Learned, Metrics, Outcome, Rules, Turn
from tokjax.training.published import make_published_step
from tokjax.training.state import TrainState, for_optimizer
from tokjax.training.updates import carried_by, generator_updated, kept_if_finite

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from tokjax.losses.weight_files import Weights

Step = Callable[..., tuple[TrainState, Metrics]]


def make_train_step(model: Any, optimizer: optax.GradientTransformation, config: ConfigDict, tokenizer: Any = None) -> Step:
    """step(state, video, perceptual=None) -> (state, metrics); to be jitted by the caller, state donated.

    video is uint8 or float [b,t,h,w,3]; perceptual are the weights of config.loss.perceptual_network, where its weight is not 0.
    What they are for a model of tokens, and `tokenizer`, is told in tokjax.training.generative.
    """
    rules = Rules(model, make_adversary(config), config, tokenizer)
    if config.training.mode == "published":
        return make_published_step(rules, optimizer)

    def train_step(state: TrainState, video: jax.Array, perceptual: Weights | None = None) -> tuple[TrainState, Metrics]:
        judged = rules.adversary is not None and rules.adversary.judges(video.shape[1])
        now = rules if judged else rules._replace(adversary=None)
        turn = Turn(video, jax.random.fold_in(jax.random.key(config.seed), state.step), state.step, perceptual)
        frozen = matching(state.params, config.optimizer.freeze)
        trained, held = split(state.params, frozen)

        def loss(learned: Learned, carried: Carried, turn: Turn) -> tuple[jax.Array, Outcome]:
            return whole_loss(now, turn, learned, carried, merge(learned.model, held, frozen))

        learned = Learned(trained, state.loss, state.discriminator.params if judged else None)
        gradients, outcome = _mean_gradients(loss, learned, carried_by(state), turn, config.training.accumulation)
        metrics = outcome.metrics | {"gradient_norm": optax.tree.norm(for_optimizer(gradients.model, gradients.loss))}
        new = generator_updated(state, gradients, outcome.carried.model, optimizer, config)
        if judged:
            theirs = state.discriminator.replace(batch_stats=outcome.carried.batch_stats, averages=outcome.carried.averages)
            theirs, more = discriminator.updated(rules, theirs, gradients.adversary, metrics["discriminator_loss"], state.step)
            new, metrics = new.replace(discriminator=theirs), metrics | more
        new, metrics = kept_if_finite(new, state, metrics)
        return new, metrics | codebook_use(model, outcome.indices)

    return train_step


def codebook_use(model: Any, indices: jax.Array | None) -> Metrics:
    """How the batch uses the codebook; nothing of a model without one."""
    codes = None if indices is None else model.quantizer.codebook_size
    return {} if codes is None else batch_statistics(indices, codes)


def make_loss(model: Any, config: ConfigDict) -> Callable[..., tuple[jax.Array, Outcome]]:
    """loss(learned, carried, turn) -> (scalar to differentiate, Outcome), of a whole batch with nothing frozen."""
    rules = Rules(model, make_adversary(config), config)
    return lambda learned, carried, turn: whole_loss(rules, turn, learned, carried, learned.model)


def whole_loss(rules: Rules, turn: Turn, learned: Learned, carried: Carried, params: Any) -> tuple[jax.Array, Outcome]:
    """The losses of both players added up; no gradient of the one reaches the parameters of the other.

    Args:
      params: all of the model's, those that do not train included.
    """
    if is_generator(rules.model):
        return token_loss(rules, turn, carried, params)
    done = forward.run(rules, turn, params, carried.model)
    stats, averages = carried.batch_stats, carried.averages
    if rules.adversary is None:
        scalar, metrics = generator.plain_loss(rules, turn, done, learned)
    else:
        scalar, metrics, stats = generator.judged_loss(rules, turn, done, learned, carried)
        theirs, more, (stats, averages) = discriminator.discriminator_side(rules, turn, done, learned.adversary, stats, averages)
        scalar, metrics = scalar + theirs, metrics | more
    metrics = metrics | {"psnr": done.quality}
    return scalar, Outcome(metrics, Carried(done.model_state, stats, averages), done.quantized.indices)


def _mean_gradients(loss: Callable, learned: Learned, carried: Carried, turn: Turn, parts: int) -> tuple[Learned, Outcome]:
    """Gradients and outcome of the batch, its clips taken in `parts` turns so that only one part's activations live at a time.

    Each turn starts from what the turn before it carried on.
    """
    gradient = jax.grad(loss, has_aux=True)
    if parts == 1:
        return gradient(learned, carried, turn)
    # Strided parts: each device keeps its own clips, whatever the mesh.
    videos = jax.tree.map(lambda x: rearrange(x, "(b n) ... -> n b ...", n=parts), turn.video)
    keys = jax.random.split(turn.key, parts)
    shapes, outcome = jax.eval_shape(gradient, learned, carried, turn._replace(video=jax.tree.map(lambda x: x[0], videos)))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (shapes, outcome.metrics))

    def one(before: tuple[Any, Carried], inputs: tuple[jax.Array, jax.Array]) -> tuple[tuple[Any, Carried], Any]:
        total, carried = before
        video, key = inputs
        gradients, outcome = gradient(learned, carried, turn._replace(video=video, key=key))
        return (jax.tree.map(jnp.add, total, (gradients, outcome.metrics)), outcome.carried), outcome.indices

    (total, carried), indices = jax.lax.scan(one, (zeros, carried), (videos, keys))
    gradients, metrics = jax.tree.map(lambda leaf: leaf / parts, total)
    return gradients, Outcome(metrics, carried, None if indices is None else rearrange(indices, "n b ... -> (b n) ..."))
