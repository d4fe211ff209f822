"""Both players in one step, on a model of two matrices: against losses that are differentiated one by one, and by its rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from saved_runs import through_a_checkpoint
from training.test_model_state import EMA_CODES
from training.test_step import WITHOUT_ENTROPY, Tiny, bits

from tokjax.config import defaults
from tokjax.losses import objective
from tokjax.losses.adversarial import adaptive_weight
from tokjax.models.cost import count_flops
from tokjax.training.adversary import make_adversary
from tokjax.training.optimizers import make_optimizer
from tokjax.training.players import Carried, Learned, Turn
from tokjax.training.state import state_of
from tokjax.training.step import make_loss, make_train_step
from tokjax.training.updates import carried_by


class Judged(Tiny):
    last_layer = ("decoder",)


def settings(loss=(), **sections):
    config = defaults()
    config.optimizer.update({"learning_rate": 1e-2, "ema_decay": 0.9})
    config.discriminator.update({"kind": "vidtok_2d", "width": 4, "layers": 1})
    config.discriminator_optimizer.learning_rate = 1e-2
    config.loss.update({"adversarial_weight": 0.5, "adversarial": "hinge_cross_entropy", "regularization_weight": 0.3})
    config.loss.update(dict(loss))
    for name, values in sections.items():
        config[name].update(values)
    return config


def make(config, quantizer=WITHOUT_ENTROPY):
    model = Judged(quantizer)
    optimizer = make_optimizer(config.optimizer, 100, config.training.batches_per_update)
    state = state_of(model, optimizer, config)
    return model, state, jax.jit(make_train_step(model, optimizer, config))


def clips(seed=0, batch=4):
    return np.random.default_rng(seed).uniform(-1, 1, (batch, 2, 8, 8, 3)).astype(np.float32)


def learned(state):
    return Learned(state.params, state.loss, state.discriminator.params)


def close(one, other, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **{"rtol": 1e-4, "atol": 1e-6, **tolerance}), one, other)


ADAPTIVE = {"adaptive": True, "log_variance": True, "lecam_weight": 0.1}
MATCHED = {"feature_matching_weight": 2.0, "frames": "one"}


@pytest.mark.parametrize("loss", [ADAPTIVE, MATCHED], ids=["adaptive", "feature matching"])
def test_one_way_back_gives_the_gradients_of_three(loss):
    """Each loss is differentiated through the whole model by itself; their sum is what the step has found in one go."""
    config = settings(loss)
    model, state, _ = make(config)
    turn, carried, adversary = Turn(clips(), jax.random.key(3), jnp.int32(0)), carried_by(state), make_adversary(config)
    frame = jax.random.randint(jax.random.fold_in(turn.key, 1), (4,), 0, 2) if config.loss.frames == "one" else None

    def look(judges, video):
        shown = None if frame is None else objective.chosen(video, frame)
        return adversary.look(judges, carried.batch_stats, video, shown, turn.key)[0]

    def run(params):
        return model.apply({"params": params}, clips(), train=True)

    def apart(params, own):
        log_variance = own and own["log_variance"]
        return objective.distance(config.loss, clips(), run(params)[0], None, frame, log_variance)[0]

    def heard(params):
        fake, features = look(state.discriminator.params, run(params)[0])
        _, real = look(state.discriminator.params, clips())
        return objective.adversarial_loss(config.loss, fake)[0], objective.matching_loss(config.loss, real, features)[0]

    def theirs(judges):
        real, fake = look(judges, clips())[0], look(judges, run(state.params)[0])[0]
        return objective.discriminators_loss(config.loss, real, fake, carried.averages)[0]

    @jax.jit
    def one_by_one(params, own):
        far, of_own = jax.grad(apart, (0, 1))(params, own)
        said, matched = (jax.grad(lambda params, which=which: heard(params)[which])(params) for which in (0, 1))
        regular = jax.grad(lambda params: run(params)[1].losses["regularization"])(params)
        balance = adaptive_weight(far["decoder"]["kernel"], said["decoder"]["kernel"]) if config.loss.adaptive else 1.0
        weights = (1.0, 0.5 * balance, config.loss.feature_matching_weight, 0.3)
        whole = jax.tree.map(
            lambda *leaves: sum(w * leaf for w, leaf in zip(weights, leaves, strict=True)), far, said, matched, regular
        )
        return Learned(whole, of_own, jax.grad(theirs)(state.discriminator.params))

    gradients, outcome = jax.jit(jax.grad(make_loss(model, config), has_aux=True))(learned(state), carried, turn)
    expected = one_by_one(state.params, state.loss)
    close(gradients, expected)
    assert all(np.abs(leaf).max() > 1e-4 for leaf in jax.tree.leaves(gradients.model))
    told = outcome.metrics
    parts = apart(state.params, state.loss), *heard(state.params)
    weight = told.get("adaptive_weight", 0.5)
    total = parts[0] + weight * parts[1] + config.loss.feature_matching_weight * parts[2] + 0.3 * told["regularization"]
    np.testing.assert_allclose(told["loss"], total, rtol=1e-5)


def test_the_model_is_run_forth_and_back_once():
    """Its share of the step's products is what it is without discriminators; those have the rest, and a last layer more."""
    judged, alone = settings(ADAPTIVE), settings(ADAPTIVE | {"adversarial_weight": 0.0, "adaptive": False, "lecam_weight": 0.0})
    alone.discriminator.kind = ""

    def flops(config):
        model, state, _ = make(config)
        theirs = state.discriminator and state.discriminator.params
        both = Learned(state.params, state.loss, theirs)
        return count_flops(
            jax.grad(make_loss(model, config), has_aux=True), both, carried_by(state), Turn(clips(), jax.random.key(0), 0)
        )

    adversary, (_, state, _) = make_adversary(judged), make(judged)

    def verdict(judges, video):
        return sum(
            jax.tree.leaves(
                jax.tree.map(
                    jnp.sum, adversary.look(judges, state.discriminator.batch_stats, video, None, jax.random.key(0))[0][0]
                )
            )
        )

    to_pixels = count_flops(jax.grad(verdict, 1), state.discriminator.params, clips())
    to_weights = count_flops(jax.grad(verdict, 0), state.discriminator.params, clips())
    last_layer = 2 * clips().size * 2  # products of the decoder's matrix with all positions
    extra = flops(judged) - flops(alone) - to_pixels - 2 * to_weights
    assert 0 <= extra <= 6 * last_layer


@pytest.mark.slow
def test_parts_of_a_batch_give_the_gradients_of_each():
    """Two equal halves: batch statistics, adaptive weight and averages are then those of a half."""
    half = clips(batch=4)
    _, state, alone = make(settings(ADAPTIVE | {"lecam_weight": 0.0}))
    *_, in_parts = make(settings(ADAPTIVE | {"lecam_weight": 0.0}, training={"accumulation": 2}))
    expected, metrics = alone(state, half)
    got, told = in_parts(state, np.repeat(half, 2, axis=0))
    close((got.params, got.loss, got.discriminator.params), (expected.params, expected.loss, expected.discriminator.params))
    close({name: told[name] for name in metrics}, metrics)


@pytest.mark.parametrize("parts", [1, 2])
def test_a_step_that_is_not_finite_leaves_both_players_and_everything_beside_them(parts):
    _, state, step = make(settings(ADAPTIVE, training={"accumulation": parts}), EMA_CODES)
    state, _ = step(state, clips())
    broken = clips()
    broken[1, 0, 2, 2, 0] = np.nan
    after, metrics = step(state, broken)
    assert not np.isfinite(metrics["loss"]) and int(after.nonfinite) == 1
    assert bits(after.replace(step=state.step, nonfinite=state.nonfinite)) == bits(state)
    after, _ = step(after, clips(1))
    for part in ("params", "model_state", "optimizer", "ema", "loss", "discriminator"):
        assert bits(getattr(after, part)) != bits(getattr(state, part))
    assert all(
        bits(one) != bits(other) for one, other in zip(*(vars(s.discriminator).values() for s in (after, state)), strict=True)
    )


def test_a_discriminator_that_is_not_finite_stops_the_model_too():
    """Its logits on originals alone overflow: the generator's loss is finite, yet nothing may be kept."""
    config = settings({"adversarial": "hinge"})
    _, state, step = make(config)
    state = state.replace(discriminator=state.discriminator.replace(averages={}))
    broken = jax.tree.map(lambda leaf: leaf, state.discriminator.params)
    broken["image"]["conv_2"]["bias"] = jnp.full_like(broken["image"]["conv_2"]["bias"], jnp.inf)
    state = state.replace(discriminator=state.discriminator.replace(params=broken))
    after, metrics = step(state, clips())
    assert not np.isfinite(metrics["discriminator_loss"])
    assert bits(after.params) == bits(state.params) and bits(after.discriminator) == bits(state.discriminator)


def test_who_has_not_started_does_not_learn_and_is_not_heard():
    deaf = {"adversarial_start": 2, "adversarial_ramp": 2, "discriminator_start": 1}
    _, state, step = make(settings(deaf))
    without = settings({"adversarial_weight": 0.0}, discriminator={"kind": ""})
    _, lonely, alone = make(without)
    theirs, weights = [bits(state.discriminator.params)], []
    for seed in range(4):
        before = state
        state, metrics = step(state, clips(seed))
        lonely, told = alone(lonely.replace(params=before.params, optimizer=before.optimizer, ema=before.ema), clips(seed))
        weights.append((metrics["loss"] - told["loss"]) / (0.5 * metrics["generator_image"]))
        theirs.append(bits(state.discriminator.params))
        if seed < 2:
            close(state.params, lonely.params, atol=1e-5)
    np.testing.assert_allclose(weights, [0, 0, 0.5, 1], atol=1e-3)
    assert theirs[0] == theirs[1] and len(set(map(tuple, theirs))) == 4


def test_discriminators_rest_where_their_loss_is_low():
    _, state, step = make(settings(discriminator_optimizer={"skip_below": 100.0}))
    after, metrics = step(state, clips())
    assert 0 < metrics["discriminator_loss"] < 100 and metrics["discriminator_learns"] == 0
    assert bits((after.discriminator.params, after.discriminator.optimizer)) == bits(
        (state.discriminator.params, state.discriminator.optimizer)
    )
    assert bits(after.params) != bits(state.params)


@pytest.mark.slow
def test_several_batches_make_one_update_of_the_mean_of_their_gradients():
    config = settings({"adversarial_weight": 1e-9}, training={"batches_per_update": 2}, optimizer={"clip_norm": 0.0})
    model, state, step = make(config)
    first, _ = step(state, clips(0))
    second, _ = step(first, clips(1))
    for part in ("params", "ema"):
        assert bits(getattr(first, part)) == bits(getattr(state, part)) != bits(getattr(second, part))
    assert bits(first.discriminator.params) == bits(state.discriminator.params) != bits(second.discriminator.params)
    carried = carried_by(state)
    gradient = jax.jit(jax.grad(make_loss(model, config), has_aux=True))
    both = [gradient(learned(state), carried, Turn(clips(seed), jax.random.key(0), seed))[0].model for seed in (0, 1)]
    mean = jax.tree.map(lambda one, other: (one + other) / 2, *both)
    optimizer = make_optimizer(config.optimizer, 100)
    updates, _ = optimizer.update(mean, optimizer.init(state.params), state.params)
    close(second.params, jax.tree.map(jnp.add, state.params, updates), atol=1e-5)


@pytest.mark.slow
def test_checkpoints_keep_both_players_bitwise(tmp_path):
    _, state, step = make(settings(ADAPTIVE))
    state, _ = step(state, clips())
    restored = through_a_checkpoint(state, tmp_path)
    assert jax.tree.structure(restored) == jax.tree.structure(state) and bits(restored) == bits(state)
    assert bits(step(restored, clips(1))) == bits(step(state, clips(1)))


def test_without_discriminators_there_is_nothing_of_them():
    config = settings({"adversarial_weight": 0.0}, discriminator={"kind": ""})
    _, state, step = make(config)
    assert state.discriminator is None and state.loss is None
    after, metrics = step(state, clips())
    assert after.discriminator is None and carried_by(state) == Carried({}, {}, {})
    assert metrics.keys() == {"loss", "psnr", "reconstruction", "regularization", "commitment", "per_sample_entropy"} | {
        *("codebook_entropy", "gradient_norm", "nonfinite", "codebook_usage", "codebook_perplexity", "dead_codes")
    }
