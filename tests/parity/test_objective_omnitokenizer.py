"""OmniTokenizer's objective, term by term and both sides, against the original's losses and gradients."""

import functools
from types import SimpleNamespace

import jax
import numpy as np
import omni_weights
import pytest
from einops import rearrange
from loss_settings import SETTINGS, near
from ml_collections import ConfigDict

from tokjax.conversion.discriminators import to_torch
from tokjax.conversion.kept_discriminators import kept_in
from tokjax.conversion.perceptual import weights_in
from tokjax.losses import objective
from tokjax.losses.adversarial import start_and_ramp
from tokjax.losses.augment import Draws, apply
from tokjax.models.discriminators import build_discriminator

LOSSES = ["vq_image_eval", "before_disc_start", "vq_image_l2_laplace", "vae_video_train"]
LONG = ["vq_image_train", "vq_video_eval", "vq_video_train", "vq_video_allframes_vanilla"]
ALL = LOSSES + [pytest.param(name, marks=pytest.mark.slow) for name in LONG]


def omni_settings(args):
    l2 = args.get("recon_loss_type") == "l2"
    # The original weighs distances with 4, and sees half the range: 1/2 of absolute, 1/4 of squared differences.
    changes = {
        "reconstruction": "l2" if l2 else "l1",
        "reduction": "mean",
        "reconstruction_weight": 1.0 if l2 else 2.0,
        "laplace_weight": args.get("logitslaplace_weight", 0.0) * l2,
        "perceptual_weight": args["perceptual_weight"],
        "perceptual_range": 0.5,
        "adversarial": args.get("disc_loss_type", "hinge"),
        "image_weight": args["image_gan_weight"],
        "video_weight": args["video_gan_weight"],
    }
    return SimpleNamespace(**SETTINGS | changes)


class Omni:
    """A golden file of all losses, from the original's own reconstruction on."""

    def __init__(self, path):
        arrays, meta = omni_weights.read_golden(path)
        state = omni_weights.state_dict(arrays, meta)
        self.args, self.train = meta["config"]["args"], meta["config"]["train"]
        self.factor = start_and_ramp(meta["config"]["global_step"], self.args["discriminator_iter_start"])
        self.settings, self.theirs = omni_settings(self.args), omni_weights.outputs(arrays)
        kept = kept_in(state, path)
        self.variables, perceptual = kept.variables, weights_in(state, path)
        self.noise = {name: tree.pop("noise") for name, tree in self.variables["params"].items() if "noise" in tree}
        self.module = build_discriminator(ConfigDict(kept.config | {"noise": False}))  # what was drawn is added here
        drawn = [(caller.rpartition(":")[2], arrays[f"in/rng_{number:03d}_{fn}"]) for number, fn, _, caller in meta["rng_log"]]
        whole = self.args.get("apply_allframes")
        self.frames = [None if whole else value for caller, value in drawn if caller == "VQGAN.forward"] or [None] * 3
        self.maps = [value for caller, value in drawn if caller == "ApplyNoise.forward"]
        numbers = [value.reshape(-1) for caller, value in drawn if caller.startswith("rand_")]
        self.damage = [Draws(*numbers[first : first + 7]) for first in range(0, len(numbers), 7)]
        # With l2, the original shifts both in place by half its range before all later losses; it stored the shifted one.
        x = omni_weights.as_video(arrays["in/x"]) + (self.settings.reconstruction == "l2")
        self.reconstruction = omni_weights.as_video(self.theirs["g_x_recon"])
        self.held = {"x": x, "perceptual": perceptual, "judges": self.variables["params"]}

    def look(self, params, video, frame, maps=(), damage=()):
        """Logits and activations, with the noise and the damage that the original drew for frames and for clips."""
        frames = objective.chosen(video, frame)
        for name, drawn in maps:
            noise = 2 * self.noise[name] * omni_weights.channels_last(drawn)
            video, frames = (video + noise, frames) if name == "video" else (video, frames + noise)
        turns = iter(damage)

        def augment(video, _):
            return apply(video.reshape(-1, *video.shape[2:]), next(turns)).reshape(video.shape)

        variables, rngs = self.variables | {"params": params}, {"augment": jax.random.key(0)}
        arguments = (video, frames, self.train, augment if damage else None)
        return self.module.apply(variables, *arguments, rngs=rngs, mutable=["batch_stats"])[0]

    @functools.partial(jax.jit, static_argnums=0)
    def generator(self, held, reconstruction):
        """(gradient of the sum, all terms), regularization apart."""

        def loss(reconstruction):
            far, terms = objective.distance(self.settings, held["x"], reconstruction, held["perceptual"], self.frames[0])
            maps = [*zip(("image", "video", "video"), self.maps[:3], strict=True)] if self.maps else []
            fake, of_fake = self.look(held["judges"], reconstruction, self.frames[0], maps[:2])
            _, of_real = self.look(held["judges"], held["x"], self.frames[0], maps[2:])
            said, told = objective.adversarial_loss(self.settings, fake)
            matching, more = objective.matching_loss(self.settings, of_real, of_fake)
            total = far + self.factor * (said + self.args["gan_feat_weight"] * matching)
            return total, terms | told | more | {"total": total, "said": said, "matching": matching}

        return jax.grad(loss, has_aux=True)(reconstruction)

    @functools.partial(jax.jit, static_argnums=0)
    def discriminators(self, held, reconstruction):
        """(gradients, terms) of the discriminators, which the original judges with the frames of its second pass."""

        def loss(params):
            real, _ = self.look(params, held["x"], self.frames[1], damage=self.damage[0::2])
            fake, _ = self.look(params, reconstruction, self.frames[1], damage=self.damage[1::2])
            total, terms, _ = objective.discriminators_loss(self.settings, real, fake, {})
            return self.factor * total, terms | {"total": self.factor * total}

        return jax.grad(loss, has_aux=True)(held["judges"])


@pytest.mark.parametrize("name", ALL)
def test_omnitokenizer(golden, name):
    one = Omni(golden(f"omnitokenizer/losses_{name}.npz"))
    their, log = one.theirs, {key.removeprefix("g_log/train/"): value for key, value in one.theirs.items() if "g_log" in key}
    pull, terms = one.generator(one.held, one.reconstruction)
    weights = {"reconstruction": one.settings.reconstruction_weight, "laplace": one.settings.laplace_weight}
    near(sum(weight * terms.get(term, 0.0) for term, weight in weights.items()), their["g_recon_loss"])
    near(one.settings.perceptual_weight * terms["perceptual"], their["g_perceptual"])
    near(one.factor * terms["said"], their["g_aeloss"], atol=1e-5)
    near(one.args["gan_feat_weight"] * one.factor * terms["matching"], their["g_gan_feat"], rtol=1e-3)
    for key in ("image", "video"):
        if f"g_{key}_loss" in log:
            near(terms[f"generator_{key}"], log[f"g_{key}_loss"], atol=1e-5)
    near(terms["total"] + their["g_commitment_or_kl"], their["g_total"], rtol=1e-3)
    if "g_grad/decoder.to_pixels_first_frame.0.bias" in their:  # a sum over the patches of first frames
        folded = rearrange(2 * pull[:, 0], "b (h p) (w q) c -> (c p q) (b h w)", p=8, q=8).sum(1)
        theirs = their["g_grad/decoder.to_pixels_first_frame.0.bias"]
        assert np.linalg.norm(folded - theirs) < 2e-2 * np.linalg.norm(theirs)


# In training the codebook moves, or latents are drawn anew, between the original's passes: see the parity of whole steps.
@pytest.mark.parametrize("name", [name for name in LOSSES + LONG if not name.endswith("_train")])
def test_omnitokenizers_discriminators(golden, name):
    path = golden(f"omnitokenizer/losses_{name}.npz")
    one = Omni(path)
    log = {key.removeprefix("d_log/train/"): value for key, value in one.theirs.items() if key.startswith("d_log")}
    slopes, terms = one.discriminators(one.held, one.reconstruction)
    near(terms["total"], one.theirs["d_loss"], atol=1e-5)
    for key in ("image", "video"):
        if f"discriminator_{key}" in terms:
            near(terms[f"discriminator_{key}"], log[f"d_{key}_loss"], atol=1e-5)
            near(terms[f"logits_real_{key}"], log[f"logits_{key}_real"], atol=1e-5)
            near(terms[f"logits_fake_{key}"], log[f"logits_{key}_fake"], atol=1e-5)
    names = omni_weights.read_golden(path)[1]["config"]["param_names"]
    theirs = dict(zip(names, one.theirs["d_gradnorm"], strict=True))
    published = to_torch({"params": slopes, "batch_stats": one.variables["batch_stats"]}, one.module)
    for key, value in published.items():
        if key in theirs:
            near(np.linalg.norm(value), theirs[key], rtol=1e-2, atol=1e-5)
