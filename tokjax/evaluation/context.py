"""What goes on the label of a score: the model, the data, the protocol's settings, versions and hardware."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from tokjax import __version__
from tokjax.data.sources import IMAGE_SUFFIXES, VIDEO_SUFFIXES, DataError
from tokjax.models.tokenizer import Tokenizer

_PACKAGES = ("jax", "jaxlib", "flax", "numpy", "av", "pillow")


def streams_in(data: Path, config: Any) -> dict[str, dict[str, Any]]:
    """Validation streams over what lies in `data`, resized and cropped as `config.data` does for media of that kind.

    Args:
      data: a folder with `images` and `videos` (and `videos.csv`) in it, or in its `validation`; or a folder of media files.

    Raises:
      DataError: neither images nor videos there.
    """
    root = data / "validation" if (data / "validation").is_dir() else data
    found = {}
    for kind, suffixes in (("images", IMAGE_SUFFIXES), ("videos", VIDEO_SUFFIXES)):
        folder = root / kind if (root / kind).is_dir() else root
        if not folder.is_dir() or not any(path.suffix.lower() in suffixes for path in folder.rglob("*")):
            continue
        table = root / f"{kind}.csv"
        found[kind] = {**_settings(config, kind), "path": str(folder), "table": str(table) if table.is_file() else ""}
    if not found:
        raise DataError(f"no images or videos in {data}; give a folder with media files, or with `images` and `videos` in it")
    return found


def _settings(config: Any, kind: str) -> dict[str, Any]:
    """The keys of the config's stream of this kind; without one, of any stream with as many frames as the kind allows."""
    streams = [stream.to_dict() for split in ("validation", "train") for stream in config.data[split].values()]
    if not streams:
        raise DataError(
            "the model's config.json names no stream to take size and frame rate of clips from; add one to its data.validation"
        )
    same = [stream for stream in streams if stream["kind"] == kind]
    changes = {"kind": kind, "crop": "centre", "flip": False}
    return {**(same or streams)[0], **changes, **({"frames": 1} if kind == "images" else {})}


def add_context(
    result: dict[str, Any],
    tokenizer: Tokenizer,
    streams: Mapping[str, Mapping[str, Any]],
    step: int,
    history: Sequence[Mapping[str, float]],
    seconds: float,
) -> None:
    """Adds to an evaluation's result what a reader needs to trust and repeat it.

    Args:
      history: the run's metrics by step, where the same streams were scored before training; empty otherwise.
      seconds: that it took.
    """
    module, config = tokenizer.module, tokenizer.config
    for name, one in result["streams"].items():
        frames, side = streams[name]["frames"], streams[name]["resolution"]
        latents = math.prod(module.latent_shape(frames, side, side))
        one["pixel_values_per_latent_value"] = frames * side * side * 3 / latents
        start = [row[f"validation/{name}/psnr"] for row in history if row["step"] == 0 and f"validation/{name}/psnr" in row]
        if start:
            one["psnr_at_start"] = start[-1]
    result["protocol"] |= {"latents": "mode, not sampled", "streams": {name: dict(stream) for name, stream in streams.items()}}
    result["model"] = {
        "name": config.name,
        "step": step,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(tokenizer.variables["params"])),
        **config.model.to_dict(),
    }
    result["seed"] = config.seed
    result |= environment(seconds)


def environment(seconds: float) -> dict[str, Any]:
    """Versions, hardware, and the wall time that an evaluation took there."""
    hardware = {"device": jax.devices()[0].device_kind, "count": jax.device_count(), "wall_seconds": round(seconds, 3)}
    return {"versions": {"tokjax": __version__, **{name: version(name) for name in _PACKAGES}}, "hardware": hardware}
