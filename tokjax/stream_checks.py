"""What a stream of the configuration must fulfil, whatever the model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tokjax.errors import nearest, require

if TYPE_CHECKING:
    from ml_collections import ConfigDict

_CHOICES = {
    "kind": ("images", "videos", "array_record", "tfds", "tokens"),
    "frame_rule": ("exact", "vidtok", "omnitokenizer"),
    "short_clips": ("repeat", "drop"),
    "resize": ("bilinear", "bicubic"),
    "crop": ("random", "centre", "squash", "random_area"),
}


def check_stream(one: ConfigDict, path: str) -> None:
    """Refuses values that do not exist or contradict each other; `path` is where the stream stands in the config.

    Raises:
      ConfigError
    """
    for name, known in _CHOICES.items():
        sentence = f"{path}.{name} must be one of {', '.join(known)}, not {one[name]!r}{nearest(one[name], known)}"
        require(one[name] in known, sentence)
    require(
        one.frames >= 1 and one.batch >= 1 and 0 <= one.weight < math.inf,
        f"{path} needs frames and batch of at least 1 and a weight of 0 or more",
    )
    require(one.resolution >= 1, f"{path}.resolution must be at least 1, not {one.resolution}")
    require(one.kind != "images" or one.frames == 1, f"{path} is a stream of images, so frames must be 1, not {one.frames}")
    require(
        one.resolution <= (one.short_side or one.resolution), f"{path}.short_side is smaller than the crop of {one.resolution}"
    )
    _check_times(one, path)
    area = one.crop_area
    require(len(area) == 2 and 0 < area[0] <= area[1] <= 1, f"{path}.crop_area must be two shares such as (0.5, 1.0), not {area}")
    require(0 <= one.colour_jitter < 1, f"{path}.colour_jitter must be 0 or more and below 1, not {one.colour_jitter}")


def _check_times(one: ConfigDict, path: str) -> None:
    require(0 <= one.frame_rate < math.inf, f"{path}.frame_rate must be 0 or more and finite, not {one.frame_rate}")
    require(one.stride >= 1, f"{path}.stride must be at least 1, not {one.stride}")
    require(
        one.stride == 1 or (one.frame_rate == 0 and one.frame_rule == "exact"),
        f"{path} has a stride of {one.stride} beside a frame_rate or a published frame_rule; choose one of them",
    )
    require(
        not (one.whole and path.startswith("config.data.train")), f"{path}.whole is for streams of config.data.validation only"
    )
    require(one.kind != "tfds" or one.split != "", f"{path}.split is empty, but a data set of tfds has splits such as 'train'")
