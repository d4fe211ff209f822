"""What the losses and the discriminators of a configuration must fulfil."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokjax.errors import nearest, require

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_AUGMENTATIONS = ("color", "translation", "cutout")
_HEADS = {"vgg16": "vgg.pth", "alexnet": "alex.pth"}


def check_losses(config: ConfigDict) -> None:
    """Refuses losses that lack what they are computed with, and settings that nothing would read.

    Raises:
      ConfigError
    """
    loss, network = config.loss, config.loss.perceptual_network
    require(
        not loss.perceptual_weight or bool(loss.perceptual_weights_file),
        f"config.loss.perceptual_weight is {loss.perceptual_weight}, but config.loss.perceptual_weights_file is empty; name the "
        f"file that `tokjax convert perceptual --{network} {network}.pth --lpips {_HEADS[network]} -o FILE` makes of "
        "torchvision's ImageNet weights and the LPIPS heads, or set the weight to 0",
    )
    if config.discriminator.kind:
        _check_adversary(config)
        return
    for name in ("adversarial_weight", "lecam_weight", "feature_matching_weight"):
        require(not loss[name], f"config.loss.{name} is {loss[name]}, without a discriminator; set config.discriminator.kind")
    require(not loss.adaptive, "config.loss.adaptive balances a discriminator's loss, but config.discriminator.kind is empty")
    require(config.training.mode == "sound", "config.training.mode='published' orders updates of discriminators; there are none")


def _check_adversary(config: ConfigDict) -> None:
    loss, own, training = config.loss, config.discriminator, config.training
    require(
        loss.adversarial_weight > 0,
        f"config.discriminator.kind is {own.kind!r}, but config.loss.adversarial_weight is 0, so nothing would listen to it",
    )
    require(
        not (loss.adaptive and loss.feature_matching_weight),
        "config.loss.adaptive balances the adversarial loss alone; set feature_matching_weight to 0, or adaptive to False",
    )
    require(
        own.norm == "batch" or own.kind == "omni_image",
        f"config.discriminator.norm must be batch for {own.kind}; only omni_image can have group norms",
    )
    for name in own.augment.split(",") if own.augment else ():
        hint = nearest(name, _AUGMENTATIONS)
        require(
            name in _AUGMENTATIONS,
            f"config.discriminator.augment has {name!r}, but those there are: {', '.join(_AUGMENTATIONS)}{hint}",
        )
    if training.mode == "published":
        require(
            config.model.family == "omnitokenizer" and training.accumulation == 1 and not loss.adaptive,
            "config.training.mode='published' is OmniTokenizer's order of updates: it needs model.family='omnitokenizer', "
            "training.accumulation=1 (batches_per_update is its own way) and loss.adaptive=False",
        )


def check_judges(resolution: int, path: str, config: ConfigDict) -> None:
    """Refuses frames of which a discriminator would leave no logit.

    Raises:
      ConfigError
    """
    own = config.discriminator
    least = 3 * 2**own.layers if own.kind == "vidtok_2d" else 1
    require(
        resolution >= least,
        f"{path}.resolution is {resolution}, but config.discriminator with {own.layers} layers needs frames of at least "
        f"{least}x{least}; use fewer layers, larger frames or another kind",
    )
