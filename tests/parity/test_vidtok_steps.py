"""Whole training steps of VidTok equal the PyTorch original's: losses, gradients before clipping, parameters after Adam."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from torch_weights import channels_last, model_config, read_golden, state_dict

from tokjax.config import defaults
from tokjax.conversion import discriminators, perceptual, vidtok
from tokjax.models.tokenizer import build
from tokjax.quantizers import KL
from tokjax.quantizers.kl import sample
from tokjax.quantizers.quantized import Quantized
from tokjax.training.adversary import make_adversary
from tokjax.training.optimizers import make_optimizer
from tokjax.training.state import state_of
from tokjax.training.step import make_train_step

# Of the norm of all gradients. Some are zero but for rounding, as of the bias of keys in attention; Adam makes whole steps of it.
# Others are sums over all pixels, of which most cancels out; in which order depends on the compiler.
NOISE = 1.5e-5


class Drawn(KL):
    """With the noise that the original drew, which is put into `noise` while a step is traced."""

    noise = None

    def __call__(self, z, rng=None, train=False, step=0):
        return Quantized(sample(z, Drawn.noise), None, super().__call__(z, None, train, step).losses)


def config_of(meta):
    config, loss = defaults(), meta["config"]["params"]["loss_config"]["params"]
    theirs = meta["config"]["params"]["encoder_config"]["params"]
    config.model = model_config(meta)
    config.discriminator.kind = f"vidtok_{loss['disc_type']}"
    for own in (config.optimizer, config.discriminator_optimizer):
        own.learning_rate = meta["config"]["learning_rate"]
    config.optimizer.freeze = ("encoder",) if theirs["fix_encoder"] else ()
    kind = loss.get("disc_loss", "hinge") + "_cross_entropy" * loss["gen_loss_cross_entropy"]
    config.loss.update({"adversarial": kind, "adversarial_weight": loss["disc_weight"], "adaptive": True})
    config.loss.update(
        {"perceptual_weight": 1.0, "log_variance": loss["learn_logvar"], "lecam_weight": loss["lecam_loss_weight"]}
    )
    config.loss.regularization_weight = 1e-6 if meta["kl"] else 1.0
    # The original counts two steps an iteration, the model's first.
    config.loss.update({"adversarial_start": (loss["disc_start"] + 1) // 2, "discriminator_start": loss["disc_start"] // 2})
    return config


class Case:
    """A golden file: the state before its first step, and the step."""

    def __init__(self, path):
        self.arrays, self.meta = read_golden(path)
        self.config = config_of(self.meta)
        weights = state_dict(self.meta, self.arrays)
        self.model = build(self.config.model)
        if self.meta["kl"]:
            self.model = self.model.clone(quantizer=Drawn())
        self.log_variance = float(weights["loss.logvar"])
        if not self.config.loss.log_variance:  # a fixed one is a weight
            weight = float(np.exp(-self.log_variance))
            self.config.loss.update({"reconstruction_weight": weight, "perceptual_weight": weight})
        optimizer = make_optimizer(self.config.optimizer, 10)
        shapes = jax.eval_shape(lambda: state_of(build(self.config.model), optimizer, self.config))
        state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)  # as Adam begins
        style, self.judges = self.model.style, make_adversary(self.config).module
        own = {name: value for name, value in weights.items() if not name.startswith("loss.")}
        theirs = discriminators.from_torch(weights, self.judges)
        self.state = state.replace(
            step=jnp.int32(self.meta["start_step"] // 2),
            params=vidtok.from_torch(own, state.params, style.norm, style.causality),
            loss=state.loss and {"log_variance": jnp.float32(self.log_variance)},
            discriminator=state.discriminator.replace(**theirs),
        )
        self.perceptual = perceptual.weights_in(weights, path)
        train_step = make_train_step(self.model, optimizer, self.config)

        @jax.jit
        def step(state, video, perceptual, noise):
            Drawn.noise = noise
            return train_step(state, video, perceptual)

        self.step = step

    def run(self):
        """(state, metrics, step number) after each step."""
        state = self.state
        for number in range(self.meta["steps"]):
            noise = self.arrays.get(f"out:step{number}/noise")
            noise = None if noise is None else channels_last(noise)
            state, metrics = self.step(state, channels_last(self.arrays[f"in:x{number}"]), self.perceptual, noise)
            yield state, metrics, number

    def published(self, params, loss, judges):
        """Values in the tree of the learned ones, under the original's names and layouts."""
        named = vidtok.to_torch(params, self.model.style.norm, self.model.causality)
        stats = self.state.discriminator.batch_stats
        named |= discriminators.to_torch({"params": judges, "batch_stats": stats}, self.judges)
        return named | ({"loss.logvar": np.asarray(loss["log_variance"])} if loss else {})


@pytest.fixture(
    scope="module",
    params=[
        "train_kl_causal_488_fixenc",
        pytest.param("train_kl_causal_488", marks=pytest.mark.slow),
        pytest.param("train_fsq_causal_488_early", marks=pytest.mark.slow),
        pytest.param("train_kl_noncausal_488_disc3d", marks=pytest.mark.slow),
    ],
)
def case(request, golden):
    return Case(golden(f"vidtok/{request.param}.npz"))


def first_gradients(optimizer_state, norm):
    """Before clipping at 20: Adam's first moment after its first step is a tenth of what it got."""
    (moments,) = [node.mu for node in jax.tree.leaves(optimizer_state, is_leaf=is_adam) if is_adam(node)]
    return jax.tree.map(lambda leaf: 10 * leaf * max(1.0, float(norm) / 20), moments)


def is_adam(node):
    return isinstance(node, optax.ScaleByAdamState)


def test_steps(case):
    before, frozen = case.state, case.config.optimizer.freeze
    for state, metrics, number in case.run():
        check_losses(case, number, metrics)
        if number == 0:
            check_gradients(case, state, metrics)
        check_parameters(case, number, state)
        if "encoder" in frozen:
            jax.tree.map(np.testing.assert_array_equal, state.params["encoder"], before.params["encoder"])


def check_losses(case, number, metrics):
    log = {key.rpartition("/")[2]: float(value) for key, value in case.arrays.items() if f"step{number}/log/train" in key}
    name = "image" if "image" in case.state.discriminator.params else "video"
    values, fixed = 3 * 64 * 64, 0.0 if case.state.loss else case.log_variance
    early = number == 0 or log["disc_factor"] == 1  # LeCAM's averages hold still before the start, as published they do not
    expected = {
        "loss": log["total_loss"] - values * fixed,
        "perceptual": log["p_loss"],
        "reconstruction": values * (log["rec_loss"] - log["p_loss"]),
        f"generator_{name}": log["g_loss"],
        "adaptive_weight": log["d_weight"],
        f"discriminator_{name}": log["non_saturated_d_loss"],
        "discriminator_loss": log["disc_loss"],
        f"logits_real_{name}": log["logits_real"],
        f"logits_fake_{name}": log["logits_fake"],
    }
    expected |= {"log_variance": log["logvar"]} if case.state.loss else {}
    expected |= {"kl": log["kl_loss"]} if "kl_loss" in log else {"regularization": log["aux_loss"]}
    expected |= {f"lecam_{name}": log["lecam_loss"]} if "lecam_loss" in log and early else {}
    for key, value in expected.items():
        tolerance = 1e-3 if key == "regularization" else 2e-4
        np.testing.assert_allclose(metrics[key], value, rtol=tolerance, atol=1e-5, err_msg=f"{key} of step {number}")


def check_gradients(case, state, metrics):
    """Norms of all, and the largest values of each; frozen parameters have none."""
    ours = first_gradients(state.optimizer, metrics["gradient_norm"])
    model, loss = (ours["model"], ours["loss"]) if state.loss else (ours, None)
    whole = jax.tree.map(lambda leaf, own: jnp.zeros_like(leaf) if own is None else own, state.params, model)
    theirs = first_gradients(state.discriminator.optimizer, metrics["discriminator_gradient_norm"])
    named = case.published(whole, loss, theirs)
    for side, told in (("ae", "gradient_norm"), ("disc", "discriminator_gradient_norm")):
        names = ("grad_keys", "grad_norms_preclip", "top4_idx", "top4_grad_preclip")
        keys, norms, places, largest = (case.arrays[f"out:step0/{side}/{name}"] for name in names)
        total = case.arrays[f"out:step0/{side}/grad_total_norm_preclip"]
        np.testing.assert_allclose(metrics[told], total, rtol=1e-3, atol=1e-9)
        np.testing.assert_allclose([np.linalg.norm(named[key]) for key in keys], norms, rtol=2e-3, atol=NOISE * total)
        for key, place, value in zip(keys, places, largest, strict=True):
            size = min(4, named[key].size)
            np.testing.assert_allclose(named[key].ravel()[place[:size]], value[:size], rtol=2e-3, atol=NOISE * total, err_msg=key)


def check_parameters(case, number, state):
    named = case.published(state.params, state.loss, state.discriminator.params)
    for side in ("ae", "disc"):
        names = ("grad_keys", "grad_norms_preclip", "top4_idx", "top4_param_after")
        keys, norms, places, after = (case.arrays[f"out:step{number}/{side}/{name}"] for name in names)
        total = case.arrays[f"out:step{number}/{side}/grad_total_norm_preclip"]
        for key, norm, place, value in zip(keys, norms, places, after, strict=True):
            size = min(4, named[key].size) * bool(norm > NOISE * total or total == 0)
            np.testing.assert_allclose(named[key].ravel()[place[:size]], value[:size], atol=2e-6, rtol=0, err_msg=key)
