"""Networks that tell real videos from reconstructed ones, patch by patch: VidTok's and OmniTokenizer's, in 2-D and 3-D.

Arrays are [batch, time, height, width, channel]; a 2-D network is a 3-D one whose kernels span a single frame. Logits are
[samples, time, height, width], where a sample is what the network judges at once: in 2-D a frame (samples = b * t, time 1), in
3-D a clip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange

from tokjax.models.discriminator_layers import BatchNorm, Conv, GroupNorm

if TYPE_CHECKING:
    from ml_collections import ConfigDict

Augment = Callable[[jax.Array, jax.Array], jax.Array]
Kind = Literal["vidtok_2d", "vidtok_3d", "omni_image", "omni_video"]


class PatchDiscriminator(nn.Module):
    """Strided convolutions, each followed by a norm and an activation, then one to a single channel.

    Attributes:
      kind: whose network. VidTok's has kernels 4 in 2-D and 3 in 3-D, and no biases before norms. OmniTokenizer's has kernels 4
        everywhere, sees pixels in -0.5..0.5, and ends with norm and activation in 3-D, as published.
      width: channels after the first convolution; they double up to 8 times that (VidTok) or 512 (OmniTokenizer).
      layers: convolutions between the first and the last; all but the last of them halve the sides.
      norm: "batch" or, for omni_image, "group".
      activation: "leaky_relu" (slope 0.2) or "tanh".
      noise: add noise of a learned strength to the input, always, one map for all colours; needs the rng "noise".
      dtype: of the computation; parameters, norms and logits are float32.
    """

    kind: Kind
    width: int = 64
    layers: int = 3
    norm: Literal["batch", "group"] = "batch"
    activation: Literal["leaky_relu", "tanh"] = "leaky_relu"
    noise: bool = False
    dtype: str = "float32"

    @property
    def judges_frames(self) -> bool:
        """Whether a sample is a frame."""
        return self.kind in ("vidtok_2d", "omni_image")

    @property
    def smallest_side(self) -> int:
        """Height and width below which no logit would remain."""
        return 3 * 2**self.layers if self.kind == "vidtok_2d" else 1

    @nn.compact
    def __call__(
        self, video: jax.Array, train: bool = False, augment: Augment | None = None
    ) -> tuple[jax.Array, list[jax.Array]]:
        """Judges videos [b,t,h,w,3] in -1..1.

        Args:
          train: normalise with the batch's own statistics and update the running ones (make "batch_stats" mutable).
          augment: (video, key) -> video, applied to the input; needs the rng "augment".

        Returns:
          float32 logits [samples, t', h', w'], and the activations [b,t',h',w',c] before them, first layer first.
        """
        x = video.astype(jnp.float32)
        if self.noise:
            x = 2 * self._with_noise(x / 2)
        if augment:
            x = augment(x, self.make_rng("augment"))
        if self.kind.startswith("omni"):
            x = x / 2
        features = []
        for layer, (conv, norm, act) in enumerate(self._plan()):
            x = conv(x)
            x = norm(x, train) if norm else x
            x = act(x) if act else x
            if layer <= self.layers:
                features.append(x)
        logits = x[..., 0].astype(jnp.float32)
        return rearrange(logits, "b t h w -> (b t) 1 h w") if self.judges_frames else logits, features

    def _with_noise(self, x: jax.Array) -> jax.Array:
        strength = self.param("noise", nn.initializers.zeros, (x.shape[-1],))
        return x + strength * jax.random.normal(self.make_rng("noise"), (*x.shape[:-1], 1))

    def _plan(self) -> list[tuple[Conv, nn.Module | None, Callable | None]]:
        """(convolution, norm, activation) of each layer."""
        act = jnp.tanh if self.activation == "tanh" else lambda x: nn.leaky_relu(x, 0.2)
        last = self.layers + 1
        plan = []
        for layer in range(last + 1):
            normed = 0 < layer <= self.layers or (layer == last and self.kind == "omni_video")
            plan.append((self._conv(layer), self._norm(layer) if normed else None, act if layer < last or normed else None))
        return plan

    def _conv(self, layer: int) -> Conv:
        vidtok, last = self.kind.startswith("vidtok"), self.layers + 1
        most = 8 * self.width if vidtok else max(512, self.width)
        features = 1 if layer == last else min(self.width * 2**layer, most)
        size, pad = {"vidtok_2d": (4, 1), "vidtok_3d": (3, 1)}.get(self.kind, (4, 2))
        side = 2 if layer < self.layers else 1
        time = 1 if self.judges_frames or (self.kind == "vidtok_3d" and layer > 1) else side
        kernel = (1 if self.judges_frames else size, size, size)
        bias = not vidtok or layer in (0, last)
        return Conv(features, kernel, (time, side, side), pad, bias, 0.02 * vidtok, self.dtype, name=f"conv_{layer}")

    def _norm(self, layer: int) -> nn.Module:
        if self.norm == "group":
            return GroupNorm(name=f"norm_{layer}")
        return BatchNorm(0.02 * self.kind.startswith("vidtok"), name=f"norm_{layer}")


class Discriminators(nn.Module):
    """The discriminators of a run: one for frames, one for clips, or both.

    Attributes:
      image, video: the networks, by what they judge; None where there is none.
    """

    image: PatchDiscriminator | None = None
    video: PatchDiscriminator | None = None

    def __call__(
        self, video: jax.Array, frames: jax.Array | None = None, train: bool = False, augment: Augment | None = None
    ) -> tuple[dict[str, jax.Array], dict[str, list[jax.Array]]]:
        """Judges videos [b,t,h,w,3] in -1..1.

        Args:
          frames: those that `image` judges, [b,n,h,w,3]; None gives it all frames of the videos.
          train, augment: as of PatchDiscriminator.

        Returns:
          (logits, features), both by "image" and "video". Where `video` stands beside `image`, it judges no single images.
        """
        logits, features = {}, {}
        if self.image is not None:
            logits["image"], features["image"] = self.image(video if frames is None else frames, train, augment)
        if self.video is not None and (video.shape[1] > 1 or self.image is None or self.is_initializing()):
            logits["video"], features["video"] = self.video(video, train, augment)
        return logits, features

    @property
    def smallest_side(self) -> int:
        """Height and width below which a discriminator has nothing left to judge."""
        return max(judge.smallest_side for judge in (self.image, self.video) if judge is not None)


KINDS = {
    "vidtok_2d": ("vidtok_2d", None),
    "vidtok_3d": (None, "vidtok_3d"),
    "omni_image": ("omni_image", None),
    "omni_video": (None, "omni_video"),
    "omni": ("omni_image", "omni_video"),
}


def build_discriminator(config: ConfigDict) -> Discriminators:
    """The discriminators of `config.discriminator`: its kind, one of KINDS, and width, layers, norm, activation, noise, dtype.

    Raises:
      ValueError: an unknown kind, or a norm that this kind cannot have.
    """
    if config.kind not in KINDS:
        raise ValueError(f"config.discriminator.kind must be one of {', '.join(KINDS)}, not {config.kind!r}")
    image, video = KINDS[config.kind]
    if config.norm != "batch" and config.kind != "omni_image":
        raise ValueError(f"config.discriminator.norm must be batch for {config.kind}; only omni_image can have group norms")
    rest = {name: config[name] for name in ("width", "layers", "norm", "activation", "noise", "dtype")}
    return Discriminators(*(kind and PatchDiscriminator(kind, **rest) for kind in (image, video)))
