"""What a training step minimises, composed of the single losses: VidTok's objective, OmniTokenizer's, and mixtures of the two.

`loss` is the section `config.loss`. Logits, activations and averages are by "image" and "video", as tokjax.models.discriminators
gives them. With d the distance, a the adaptive weight (or 1) and f 0 before the discriminators join and 1 after:

  generator       d + f * (adversarial_weight * a * adversarial + feature_matching_weight * matching) + regularization
  discriminators  f * (their loss + lecam_weight * LeCAM)

VidTok (arXiv 2412.13061, and its code): d is the sum over a frame of |x - r| and LPIPS, which counts at every value, in the
likelihood form with a learned log-variance; adaptive, hinge_cross_entropy, LeCAM. OmniTokenizer (arXiv 2406.09399, and its code):
d is a mean; LPIPS and the image discriminator see one frame of each clip; hinge, feature matching, nothing adaptive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from tokjax.losses import adversarial
from tokjax.losses.perceptual import lpips
from tokjax.losses.reconstruction import reconstruction_loss, summed_values, with_log_variance
from tokjax.losses.weight_files import Weights

if TYPE_CHECKING:
    from ml_collections import ConfigDict

Terms = dict[str, jax.Array]
Logits = Mapping[str, jax.Array]
Features = Mapping[str, Sequence[jax.Array]]


def distance(
    loss: ConfigDict,
    video: jax.Array,
    reconstruction: jax.Array,
    perceptual: Weights | None = None,
    frame: jax.Array | None = None,
    log_variance: jax.Array | None = None,
) -> tuple[jax.Array, Terms]:
    """How far reconstructions are from videos [b,t,h,w,3], -1..1: the scalar to minimise, and its terms without weights.

    Args:
      loss: its keys reconstruction, reduction, reconstruction_weight, laplace_weight, perceptual_weight, perceptual_network and
        perceptual_range (1, or 0.5 to show LPIPS half the contrast, as OmniTokenizer does).
      perceptual: weights of `perceptual_network`; needed where perceptual_weight is above 0.
      frame: number of the frame that LPIPS sees of each clip, int [b]; None shows it all.
      log_variance: the learned scalar; None leaves the distance as it is.
    """
    values = summed_values(video, loss.reduction)
    terms = {"reconstruction": reconstruction_loss(video, reconstruction, loss.reconstruction, loss.reduction)}
    total = loss.reconstruction_weight * terms["reconstruction"]
    if loss.laplace_weight:
        terms["laplace"] = reconstruction_loss(video, reconstruction, "laplace", loss.reduction)
        total += loss.laplace_weight * terms["laplace"]
    if loss.perceptual_weight:
        shown = [loss.perceptual_range * _images(chosen(clips, frame)) for clips in (video, reconstruction)]
        terms["perceptual"] = jnp.mean(lpips(perceptual, *shown, loss.perceptual_network))
        total += loss.perceptual_weight * values * terms["perceptual"]
    if log_variance is not None:
        total = with_log_variance(total, log_variance, values)
    return total, terms


def adversarial_loss(loss: ConfigDict, fake: Logits) -> tuple[jax.Array, Terms]:
    """What the discriminators' verdicts on reconstructions cost the generator, before any weight but their own, and its terms.

    Args:
      loss: its keys adversarial (one of adversarial.KINDS), image_weight and video_weight.
    """
    terms = {f"generator_{name}": adversarial.generator_loss(logits, loss.adversarial) for name, logits in fake.items()}
    return _sum(_weight(loss, name) * terms[f"generator_{name}"] for name in fake), terms


def matching_loss(loss: ConfigDict, real: Features, fake: Features) -> tuple[jax.Array, Terms]:
    """The distance of activations in the discriminators that have a weight, each counting alike, before its weight."""
    names = [name for name in fake if _weight(loss, name) > 0]
    terms = {f"matching_{name}": adversarial.feature_matching(real[name], fake[name]) for name in names}
    return _sum(terms.values()), terms


def discriminators_loss(
    loss: ConfigDict, real: Logits, fake: Logits, averages: Mapping[str, jax.Array]
) -> tuple[jax.Array, Terms, dict[str, jax.Array]]:
    """What the discriminators minimise once they have joined, its terms, and LeCAM's averages after this batch.

    Args:
      loss: its keys adversarial, image_weight, video_weight and lecam_weight.
      averages: float32 [2] for each discriminator, zeros at the start; {} where lecam_weight is 0.
    """
    terms, after, total = {}, dict(averages), jnp.zeros(())
    for name in real:
        one = terms[f"discriminator_{name}"] = adversarial.discriminator_loss(real[name], fake[name], loss.adversarial)
        terms[f"logits_real_{name}"], terms[f"logits_fake_{name}"] = jnp.mean(real[name]), jnp.mean(fake[name])
        terms[f"accuracy_{name}"] = adversarial.accuracy(real[name], fake[name])
        if loss.lecam_weight:
            after[name] = adversarial.update_averages(averages[name], real[name], fake[name])
            terms[f"lecam_{name}"] = adversarial.lecam(real[name], fake[name], after[name])
            one += loss.lecam_weight * terms[f"lecam_{name}"]
        total += _weight(loss, name) * one
    return total, terms, after


def chosen(video: jax.Array, frame: jax.Array | None) -> jax.Array:
    """The frame with number `frame` (int [b]) of each clip [b,t,h,w,3], as clips of one frame; None keeps all."""
    if frame is None:
        return video
    return jnp.take_along_axis(video, frame[:, None, None, None, None], axis=1)


def _images(video: jax.Array) -> jax.Array:
    return video.reshape(-1, *video.shape[2:])


def _weight(loss: ConfigDict, name: str) -> float:
    return {"image": loss.image_weight, "video": loss.video_weight}[name]


def _sum(terms) -> jax.Array:
    return sum(terms, jnp.zeros(()))
