"""Whole training steps of OmniTokenizer, in its published order of updates, equal the PyTorch original's."""

import contextlib
from functools import partial
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from omni_weights import as_video, model_of, read_golden, state_dict, variables_of

from tokjax.config import defaults
from tokjax.conversion import discriminators, perceptual
from tokjax.conversion.omnitokenizer import LEFT_OUT, to_torch
from tokjax.conversion.omnitokenizer_arguments import read_arguments
from tokjax.training.adversary import make_adversary
from tokjax.training.optimizers import make_optimizer
from tokjax.training.state import state_of
from tokjax.training.step import make_train_step


def config_of(args):
    config = defaults("omnitokenizer")
    config.model.update(read_arguments(args))
    config.loss.update({"reduction": "mean", "reconstruction_weight": 4 / 2, "regularization_weight": 1.0, "frames": "one"})
    config.loss.update({"perceptual_weight": args["perceptual_weight"], "perceptual_range": 0.5, "adversarial_weight": 1.0})
    config.loss.update({"image_weight": args["image_gan_weight"], "video_weight": args["video_gan_weight"]})
    config.loss.feature_matching_weight = args["gan_feat_weight"]
    config.discriminator.update({"kind": "omni", "width": args["disc_channels"], "noise": args.get("apply_noise", False)})
    shared = {"b1": 0.5, "b2": 0.9, "clip_norm": 1.0, "schedule": "omnitokenizer", "warmup_from": args["warmup_lr_init"]}
    rates = {"learning_rate": args["lr"], "learning_rate_min": args["lr_min"], "warmup_steps": args["warmup_steps"]}
    config.optimizer.update(shared | rates)
    tenth = {key: args["dis_lr_multiplier"] * rates[key] for key in ("learning_rate", "learning_rate_min")}
    config.discriminator_optimizer.update(shared | tenth | {"warmup_steps": args["dis_warmup_steps"]})
    config.discriminator_optimizer.skip_below = args.get("disloss_check_thres", 0.0)
    config.training.update({"mode": "published", "batches_per_update": args["grad_accumulates"], "steps": args["max_steps"]})
    return config


class Case:
    """A golden file: the state before its first step, and the step."""

    def __init__(self, path):
        self.arrays, self.meta = read_golden(path)
        self.config, weights = config_of(self.meta["config"]["args"]), state_dict(self.arrays, self.meta)
        model = model_of(self.meta)
        self.model = model.clone(quantizer=model.quantizer.clone(data_init=False))  # which traces draws that are not made
        own = {name: value for name, value in weights.items() if not name.startswith(LEFT_OUT)}
        variables = variables_of(self.model, own)
        training = self.config.training
        optimizer = make_optimizer(self.config.optimizer, training.steps, training.batches_per_update)
        shapes = jax.eval_shape(lambda: state_of(self.model, optimizer, self.config))
        state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)  # as Adam begins
        self.judges = make_adversary(self.config).module
        theirs = discriminators.from_torch(weights, self.judges)
        self.state = state.replace(
            params=variables.pop("params"), model_state=variables, discriminator=state.discriminator.replace(**theirs)
        )
        self.perceptual = perceptual.weights_in(weights, path)
        train_step = make_train_step(self.model, optimizer, self.config)

        # As in use: without the compiler's optimizations, as tests run, rounding grows a thousandfold in three steps.
        @partial(jax.jit, compiler_options={"xla_backend_optimization_level": "3"})
        def step(state, video, perceptual, draws):
            with drawn(*draws):
                return train_step(state, video, perceptual)

        self.step = step

    def run(self):
        """(state, metrics, the original's logged values, step number) after each step."""
        state, logged = self.state, self.meta["rng_log"]
        numbers = iter([self.arrays[f"in/rng_{place:03d}_{name}"] for place, name, *_ in logged if name in ("randn", "randint")])
        for number in range(self.meta["config"]["steps"]):
            video = as_video(self.arrays[f"in/x{number % self.meta['config']['n_batches']}"])
            draws = draws_of(numbers, video, self.config.discriminator.noise)
            state, metrics = self.step(state, video, self.perceptual, draws)
            prefix = f"out/s{number}_log/train/"
            log = {key.removeprefix(prefix): float(value) for key, value in self.arrays.items() if key.startswith(prefix)}
            yield state, metrics, log, number

    def published(self, state):
        """Everything in the state under the original's names and layouts."""
        named = to_torch({"params": state.params, **state.model_state}, self.model)
        theirs = state.discriminator
        return named | discriminators.to_torch({"params": theirs.params, "batch_stats": theirs.batch_stats}, self.judges)


def draws_of(numbers, video, noisy):
    """(numbers of frames, noise) of a step in the order in which ours are drawn.

    The original judges no real images for the generator where their weight is 0; there ours get noise 0, which is heard nowhere.
    """
    clips, frames = video.shape[1] > 1, []
    if not noisy:
        return frames, []

    def read(count):
        if clips:
            frames.append(next(numbers))
        return [np.moveaxis(n if n.ndim == 5 else n[:, :, None], 1, -1) for n in (next(numbers) for _ in range(count))]

    first, second = read(3 if clips else 1), read(4 if clips else 2)
    nothing = np.zeros_like(first[0])
    if clips:
        return frames, [first[0], first[1], nothing, first[2], second[0], second[2], second[1], second[3]]
    return frames, [first[0], nothing, second[0], second[1]]


@contextlib.contextmanager
def drawn(frames, noise):
    """While a step is traced, what it draws are these values; shapes of initial values are still asked for."""
    frames, noise, normal = iter(frames), iter(noise), jax.random.normal

    def of_maps(key, shape, *rest):
        return next(noise) if len(shape) == 5 else normal(key, shape, *rest)

    patch = mock.patch.object
    with patch(jax.random, "randint", lambda *_: next(frames)), patch(jax.random, "normal", of_maps):
        yield


@pytest.fixture(scope="module", params=["train_vq_image", "train_vq_joint_accum2"])
def case(request, golden):
    return Case(golden(f"omnitokenizer/{request.param}.npz"))


@pytest.mark.slow
def test_steps(case):
    before = case.published(case.state)
    ours = np.array([name in before for name in case.meta["config"]["param_names"]])  # the perceptual network's never move
    names = np.array(case.meta["config"]["param_names"])[ours]
    every = case.config.training.batches_per_update
    for state, metrics, log, number in case.run():
        check_losses(metrics, log, number)
        if every == 1:
            norms = case.arrays["out/preclip_gradnorm"][2 * number : 2 * number + 2]
            np.testing.assert_allclose(metrics["gradient_norm"], norms[0], rtol=1e-3 * (1 + 20 * number))
            np.testing.assert_allclose(metrics["discriminator_gradient_norm"], norms[1], rtol=1e-3 * (1 + 20 * number))
        now = case.published(state)
        sure = case.arrays[f"out/s{number}_delta_reldiff"][ours] < 1e-2
        moved = np.array([np.linalg.norm(now[name] - before[name]) for name in names])
        theirs = case.arrays[f"out/s{number}_delta"][ours]
        np.testing.assert_allclose(moved[sure], theirs[sure], rtol=2e-2 * (1 + number), atol=1e-6)
    check_end(case, before, now)


def check_end(case, before, now):
    """Rounding that turned the sign of an update has its whole size, and may have moved a vector to another code."""
    for name in case.meta["config"]["param_dump"]:
        theirs = case.arrays[f"out/param/{name}"]
        moved = np.abs(theirs - before[name])
        assert np.mean(np.abs(now[name] - theirs)) < 0.1 * np.mean(moved) or not moved.any(), name
        assert moved.any() or np.array_equal(now[name], theirs), name
    for name in ("embeddings", "N", "z_avg"):
        np.testing.assert_allclose(now[f"codebook.{name}"], case.arrays[f"out/after/codebook.{name}"], atol=0.02, err_msg=name)


def check_losses(metrics, log, number):
    video = "video_gan_feat_loss" in log
    kind = "video" if video else "image"
    expected = {
        "reconstruction": log["recon_loss"] / 2,
        "regularization": log["commitment_loss"],
        f"generator_{kind}": log[f"g_{kind}_loss"],
        "codebook_perplexity": log["perplexity"],
        "discriminator_loss": log["discloss"],
        f"discriminator_{kind}": log[f"d_{kind}_loss"],
        f"logits_real_{kind}": log[f"logits_{kind}_real"],
        f"logits_fake_{kind}": log[f"logits_{kind}_fake"],
    }
    if log[f"{kind}_gan_feat_loss"]:
        expected[f"matching_{kind}"] = log[f"{kind}_gan_feat_loss"]
    if not video:
        expected["perceptual"] = log["perceptual_loss"] / 4
    for key, value in expected.items():
        # Adam has made whole steps of gradients that are zero but for rounding, those of biases before batch norms.
        close = {"rtol": 1e-2, "atol": 5e-3} if number else {"rtol": 1e-4, "atol": 1e-5}
        np.testing.assert_allclose(metrics[key], value, **close, err_msg=f"{key} of step {number}")
