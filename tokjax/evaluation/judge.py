"""Runs metrics on batches, on the devices where the pixels are: what is known by frame, and what only sets have (FID, FVD)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from tokjax.evaluation.distributions import RULES, features, levels_of_original, levels_of_reconstruction, through_jpeg
from tokjax.evaluation.frechet import Moments
from tokjax.evaluation.inception_score import InceptionScore, equal_parts
from tokjax.evaluation.networks import Weights, needed
from tokjax.evaluation.pixel_variants import BY_FRAME
from tokjax.evaluation.protocols import LPIPS, ProtocolError, check_metrics
from tokjax.evaluation.scores import Scores
from tokjax.losses.features import smallest_side
from tokjax.losses.perceptual import lpips

INCEPTION_SCORE = "inception_score"
SCORED_WITH = "fid_tf1"  # the rule by which it sees images
PARTS = 10  # of the set, over which the Inception Score is averaged
FRAMES_AT_ONCE = 16  # that LPIPS compares


class Judge:
    """Some metrics and the weights that they need.

    Attributes:
      by_frame, of_sets: the metrics' names.
      known_originals: moments of the originals by metric, to be set where they need not be taken again.
      digests: of the weights, by network.
    """

    def __init__(
        self,
        metrics: Sequence[str] = ("psnr", "ssim"),
        weights: Mapping[str, Weights] | None = None,
        half_range: bool = False,
        jpeg: int = 0,
        images: int = 0,
    ) -> None:
        """Takes what is needed of the weights.

        Args:
          half_range, jpeg: see tokjax.evaluation.protocols.
          images: how many will come, for the Inception Score.

        Raises:
          ProtocolError: a metric that does not exist. PerceptualError: the weights of one were not given.
        """
        metrics, weights = check_metrics(metrics), weights or {}
        if INCEPTION_SCORE in metrics and not images:
            raise ProtocolError("the Inception Score is taken over a known number of images, and there are none")
        self.by_frame = tuple(name for name in metrics if name in BY_FRAME or name in LPIPS)
        self.of_sets = tuple(name for name in metrics if name in RULES)
        self.inception_score = INCEPTION_SCORE in metrics
        self.known_originals: dict[str, Moments] = {}
        self._half_range, self._jpeg, self._images = half_range, jpeg, images
        networks = {LPIPS[name]: name for name in self.by_frame if name in LPIPS}
        networks |= {RULES[name].network: name for name in self.of_sets}
        if self.inception_score:
            networks["inception"] = INCEPTION_SCORE
        used = {network: needed(weights, network, name) for network, name in networks.items()}
        self.digests = {network: one.about["digest"] for network, one in used.items()}
        self._params = {network: one.params for network, one in used.items()}
        self._placed: dict[Any, dict[str, Any]] = {}

    def new_scores(self) -> Scores:
        """What a stream begins with."""
        sets = {name: (Moments(), self.known_originals.get(name, Moments())) for name in self.of_sets}
        parts = equal_parts(self._images, min(PARTS, self._images)) if self.inception_score else None
        return Scores(sets=sets, inception_score=None if parts is None else InceptionScore(parts))

    def frames(self, reconstruction: jax.Array, video: jax.Array) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Scores float32 [b,t] by metric, and whether each clip's reconstruction is finite, bool [b].

        PSNR is always among them, since the clips that a report shows are picked by it.

        Args:
          reconstruction: float -1..1, clipped here, or uint8 [b,t,h,w,3].
          video: uint8 [b,t,h,w,3], on the same devices.
        """
        for name in self.by_frame:
            if name in LPIPS and min(video.shape[2:4]) < smallest_side(LPIPS[name]):
                raise ValueError(
                    f"{name} needs frames of at least {smallest_side(LPIPS[name])} pixels a side, not {video.shape[2:4]}"
                )
        names = dict.fromkeys(("psnr", *(name for name in self.by_frame if name in BY_FRAME)))
        scores, finite = _by_frame(tuple(names), reconstruction, video)
        scores |= {name: self._lpips(name, reconstruction, video) for name in self.by_frame if name in LPIPS}
        return {name: np.asarray(one) for name, one in scores.items()}, np.asarray(finite)

    def _lpips(self, name: str, reconstruction: jax.Array, video: jax.Array) -> np.ndarray:
        """[b,t], of some frames of all clips at a time: the activations of the network are large."""
        params, step = self._params_on(reconstruction)[LPIPS[name]], max(1, FRAMES_AT_ONCE // len(video))
        parts = [(reconstruction[:, i : i + step], video[:, i : i + step]) for i in range(0, video.shape[1], step)]
        return np.concatenate([np.asarray(_lpips(LPIPS[name], params, *part)) for part in parts], axis=1)

    def set_features(self, name: str, pixels: jax.Array, original: bool, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(features, logits) of the rows that are valid, of an original (uint8) or a reconstruction, see `features`."""
        rule = RULES[name]
        if original or pixels.dtype == np.uint8:
            levels = levels_of_original(rule, pixels, self._half_range and original)
        else:
            levels = levels_of_reconstruction(rule, pixels)
        if self._jpeg and rule.network == "inception":
            levels = through_jpeg(np.asarray(levels), self._jpeg)
        found = features(rule, self._params_on(pixels)[rule.network], levels)
        rows = np.repeat(valid, len(found[0]) // len(valid))
        return np.asarray(found[0])[rows], np.asarray(found[1])[rows]

    def _params_on(self, pixels: jax.Array) -> dict[str, Any]:
        """The weights on the devices of the pixels, all of them on each."""
        place = pixels.sharding
        if isinstance(place, NamedSharding):
            place = NamedSharding(place.mesh, PartitionSpec())
        if place not in self._placed:
            self._placed[place] = jax.device_put(self._params, place)
        return self._placed[place]


@partial(jax.jit, static_argnames="metrics")
def _by_frame(metrics: tuple[str, ...], reconstruction: jax.Array, video: jax.Array) -> tuple[dict, jax.Array]:
    finite = jnp.isfinite(reconstruction).all(axis=(1, 2, 3, 4))
    x, y = _unit_range(reconstruction), _unit_range(video)
    return {name: BY_FRAME[name](x, y) for name in metrics}, finite


def _unit_range(video: jax.Array) -> jax.Array:
    if video.dtype == jnp.uint8:
        return video.astype(jnp.float32) / 255.0
    return (jnp.clip(video, -1.0, 1.0) + 1.0) / 2.0


@partial(jax.jit, static_argnames="network")
def _lpips(network: str, params: Any, reconstruction: jax.Array, video: jax.Array) -> jax.Array:
    """[b,t]"""
    x, y = (2.0 * _unit_range(one).reshape(-1, *one.shape[2:]) - 1.0 for one in (reconstruction, video))
    with jax.default_matmul_precision("highest"):
        return lpips(params, x, y, network).reshape(video.shape[:2])
