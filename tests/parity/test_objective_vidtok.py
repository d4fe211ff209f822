"""VidTok's objective, term by term and both sides, against the original's losses and gradients."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_weights
from loss_settings import SETTINGS, near
from ml_collections import ConfigDict

from tokjax.conversion.discriminators import PREFIXES, to_torch
from tokjax.conversion.kept_discriminators import kept_in
from tokjax.conversion.perceptual import weights_in
from tokjax.losses import objective
from tokjax.losses.adversarial import adaptive_weight, start_and_ramp
from tokjax.models.discriminators import build_discriminator

CASES = ["yaml_kl_unsaturated", "disc3d_vanilla_nolecam"]
CASES += [pytest.param(case, marks=pytest.mark.slow) for case in ("yaml_kl", "yaml_fsq", "disc3d_hinge")]


def vidtok_settings(params):
    kind = params.get("disc_loss", "hinge") + "_cross_entropy" * params["gen_loss_cross_entropy"]
    changes = {"perceptual_weight": params["perceptual_weight"], "lecam_weight": params["lecam_loss_weight"], "adversarial": kind}
    return SimpleNamespace(**SETTINGS | changes)


class VidTok:
    """A case of unit_loss: reconstruction = base + a last layer's convolution of given features."""

    def __init__(self, path, case):
        self.arrays, meta = torch_weights.read_golden(path)
        about = meta["cases"][case]
        self.case, self.steps, self.params, self.logged = case, about["global_steps"], about["params"], about["reg_log"]
        spec = meta["spec"][self.params["disc_type"]]
        state = torch_weights.state_dict({"spec": spec, "seed": meta["seed"]}, self.arrays)
        for name, factor in about.get("scale", {}).items():
            state[name] = state[name] * np.float32(factor)
        state = {f"loss.{name}": value for name, value in state.items()}
        kept = kept_in(state, path)
        self.module = build_discriminator(ConfigDict(kept.config))
        self.stats, self.log_variance = kept.variables["batch_stats"], jnp.float32(kept.log_variance)
        self.settings = vidtok_settings(self.params)
        self.held = {name: torch_weights.channels_last(self.arrays[f"in:{case}/{name}"]) for name in ("x", "base", "feat")}
        self.held |= {"perceptual": weights_in(state, path), "judges": kept.variables["params"]}
        self.layer = jnp.transpose(self.arrays[f"in:{case}/last_layer"], (2, 3, 4, 1, 0))

    def their(self, name):
        return self.arrays[f"out:{self.case}/{name}"]

    def reconstruct(self, held, layer):
        form = ("NDHWC", "DHWIO", "NDHWC")
        return held["base"] + jax.lax.conv_general_dilated(held["feat"], layer, (1, 1, 1), [(1, 1)] * 3, dimension_numbers=form)

    def judge(self, params, stats, video):
        variables = {"params": params, "batch_stats": stats}
        (logits, _), changed = self.module.apply(variables, video, train=True, mutable=["batch_stats"])
        return logits, changed["batch_stats"]

    @functools.partial(jax.jit, static_argnums=0)
    def distance(self, held, layer, log_variance):
        """((value, terms), gradients) of the distance."""

        def loss(layer, log_variance):
            reconstruction = self.reconstruct(held, layer)
            return objective.distance(self.settings, held["x"], reconstruction, held["perceptual"], log_variance=log_variance)

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(layer, log_variance)

    @functools.partial(jax.jit, static_argnums=0)
    def adversarial(self, held, layer, stats):
        """((value, running statistics), gradient) of what the discriminator says."""

        def loss(layer):
            logits, after = self.judge(held["judges"], stats, self.reconstruct(held, layer))
            return objective.adversarial_loss(self.settings, logits)[0], after

        return jax.value_and_grad(loss, has_aux=True)(layer)

    @functools.partial(jax.jit, static_argnums=0)
    def discriminators(self, held, layer, stats, averages):
        """((value, (terms, averages, running statistics)), gradients) of the discriminator's own loss."""

        def loss(params):
            real, after = self.judge(params, stats, held["x"])
            fake, after = self.judge(params, after, self.reconstruct(held, layer))
            value, terms, moved = objective.discriminators_loss(self.settings, real, fake, averages)
            return value, (terms, moved, after)

        return jax.value_and_grad(loss, has_aux=True)(held["judges"])


@pytest.mark.parametrize("case", CASES)
def test_vidtok(golden, case):
    one = VidTok(golden("vidtok/unit_loss.npz"), case)
    name = "image" if one.module.image else "video"
    stats, averages = one.stats, {name: jnp.zeros(2)} if one.settings.lecam_weight else {}
    (far, terms), (pull, pull_of_scalar) = one.distance(one.held, one.layer, one.log_variance)
    values = np.prod(one.held["x"].shape[2:])
    for step in one.steps:
        factor = start_and_ramp(step, one.params["disc_start"])
        (said, stats), push = one.adversarial(one.held, one.layer, stats)
        weight = one.params["disc_weight"] * adaptive_weight(pull, push)
        near(far, one.their(f"s{step}/gen/nll_loss"))
        near(terms["perceptual"], one.their(f"s{step}/gen/p_loss"))
        rec_loss = terms["reconstruction"] / values + one.settings.perceptual_weight * terms["perceptual"]
        near(rec_loss, one.their(f"s{step}/gen/rec_loss"))
        near(said, one.their(f"s{step}/gen/g_loss"), atol=1e-5)
        near(weight, one.their(f"s{step}/gen/d_weight"), rtol=1e-3)
        near(factor, one.their(f"s{step}/gen/disc_factor"))
        theirs = one.their(f"s{step}/gen/d_last_layer")
        ours = jnp.transpose(pull + factor * weight * push, (4, 3, 0, 1, 2))
        near(ours, theirs, rtol=1e-2, atol=1e-3 * np.abs(theirs).max())
        if one.params["learn_logvar"]:
            near(pull_of_scalar, one.their(f"s{step}/gen/d_logvar"))
            (_, stats), _ = one.adversarial(one.held, one.layer, stats)  # the original's second pass
        factor = start_and_ramp(step + 1, one.params["disc_start"])
        (loss, (told, averages, stats)), slopes = one.discriminators(one.held, one.layer, stats, averages)
        near(factor * loss, one.their(f"s{step}/disc/loss"), atol=1e-5)
        near(told[f"discriminator_{name}"], one.their(f"s{step}/disc/non_saturated_d_loss"), atol=1e-5)
        near(told[f"logits_real_{name}"], one.their(f"s{step}/disc/logits_real"), atol=1e-5)
        near(told[f"logits_fake_{name}"], one.their(f"s{step}/disc/logits_fake"), atol=1e-5)
        if averages:
            near(told[f"lecam_{name}"], one.their(f"s{step}/disc/lecam_loss"), atol=1e-5)
            near(averages[name], one.their(f"s{step}/disc/lecam_ema"), atol=1e-6)
        published = to_torch({"params": jax.tree.map(lambda leaf, f=factor: f * leaf, slopes), "batch_stats": stats}, one.module)
        norms = [np.linalg.norm(value) for key, value in published.items() if not key.endswith(("_mean", "_var", "tracked"))]
        near(sorted(norms), sorted(one.their(f"s{step}/disc/dw_norms")), rtol=2e-3)
    sums = [published[f"{PREFIXES['vidtok'][name]}main.{layer}.running_mean"].sum() for layer in (3, 6, 9)]
    near(sums, one.their("disc_running_mean_sum_after"), rtol=1e-3, atol=1e-3)
