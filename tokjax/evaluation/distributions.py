"""FID and FVD by the rules under which numbers are published: how frames reach the network, and how moments are taken.

Numbers by different rules differ by more than most papers' improvements, so a rule's name is part of each number's name. Levels
are float32 0..255, whole where a rule quantises.
"""

from __future__ import annotations

import dataclasses
import io
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from tokjax.evaluation import i3d, inception, resizing
from tokjax.evaluation.networks import module_of


@dataclasses.dataclass(frozen=True)
class Rule:
    """Attributes:
    network: "inception" (features of frames) or "i3d" (features of clips).
    quantised: levels are cut to whole ones, below, before the network sees them.
    fit: "stretch" to the network's square, or "crop" its middle after the shorter side is resized.
    resize: "half_pixel" or "corner", see tokjax.evaluation.resizing.
    centre, scale: levels are seen as (level - centre) / scale.
    epsilon, temporal_padding: of I3D.
    ddof: covariances divide by n - ddof.
    """

    network: str
    quantised: bool = True
    fit: str = "stretch"
    resize: str = "half_pixel"
    centre: float = 127.5
    scale: float = 127.5
    epsilon: float = 1e-3
    temporal_padding: str = "same"
    ddof: int = 1


RULES = {
    # pytorch-fid, and so OmniTokenizer's rFID
    "fid_torch": Rule("inception"),
    # the original TTUR code, torch-fidelity, ADM's evaluator, TiTok
    "fid_tf1": Rule("inception", resize="corner", centre=128.0, scale=128.0),
    # OmniTokenizer's vqgan_eval.py, TATS, Open-MAGVIT2; its covariances are in float32 there
    "fvd_omnitokenizer": Rule("i3d", epsilon=1e-5),
    # VideoGPT, and OmniTokenizer for what is generated
    "fvd_videogpt": Rule("i3d", fit="crop", epsilon=1e-5),
    # common_metrics_on_video_quality
    "fvd_styleganv": Rule("i3d", quantised=False, fit="crop"),
    # StyleGAN-V's own code
    "fvd_styleganv_official": Rule("i3d", ddof=0),
    # Google's own code, and MAGVIT
    "fvd_tfhub": Rule("i3d", resize="corner"),
}
# A uint8 level as a float32 of -0.5..0.5, back, and cut to a whole one: what OmniTokenizer's code makes of the originals too.
TRUNCATED = np.floor((np.arange(256, dtype=np.float32) / np.float32(255) - np.float32(0.5) + np.float32(0.5)) * np.float32(255))


def network_input(rule: Rule, levels: jax.Array) -> jax.Array:
    """Levels [...,h,w,3] as the network sees them, [...,side,side,3]."""
    side = inception.SIDE if rule.network == "inception" else i3d.SIDE
    fit = resizing.stretched if rule.fit == "stretch" else resizing.cropped
    return (fit(levels, side, rule.resize) - rule.centre) / rule.scale


@partial(jax.jit, static_argnames="rule")
def features(rule: Rule, params: Any, levels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What the rule's network says of clips, float32 levels [b,t,h,w,3].

    Returns:
      (features, logits): of Inception [b*t,2048] and [b*t,1008]; of I3D the logits [b,400] are both.
    """
    seen = network_input(rule, levels)
    module = module_of(rule.network, rule.epsilon, rule.temporal_padding)
    with jax.default_matmul_precision("highest"):
        if rule.network == "inception":
            return module.apply({"params": params}, seen.reshape(-1, *seen.shape[2:]))
        logits = module.apply({"params": params}, seen)
        return logits, logits


@partial(jax.jit, static_argnames="rule")
def levels_of_reconstruction(rule: Rule, x: jax.Array) -> jax.Array:
    """Of float pixels -1..1, clipped."""
    levels = (jnp.clip(x.astype(jnp.float32), -1.0, 1.0) + 1.0) / 2.0 * 255.0
    return jnp.floor(levels) if rule.quantised else levels


def levels_of_original(rule: Rule, video: Any, half_range: bool) -> Any:
    """Of uint8 pixels; `half_range` repeats the rounding of code that works in -0.5..0.5, see TRUNCATED."""
    if rule.quantised and half_range:
        return jnp.asarray(TRUNCATED)[video]
    return jnp.asarray(video, jnp.float32)


def through_jpeg(levels: np.ndarray, quality: int) -> np.ndarray:
    """Whole levels [b,t,h,w,3] as they are read back from JPEG files of that quality."""
    return np.stack([np.stack([_jpeg(frame, quality) for frame in clip]) for clip in np.asarray(levels)])


def _jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(frame.astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer), np.float32)
