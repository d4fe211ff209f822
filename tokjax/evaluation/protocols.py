"""Protocols: everything that decides a number, as data. A number is quoted with the protocol's name and what was overridden."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tokjax.errors import nearest
from tokjax.evaluation.distributions import RULES
from tokjax.evaluation.pixel_variants import BY_FRAME

LPIPS = {"lpips_vgg16": "vgg16", "lpips_alexnet": "alexnet"}
MANIFOLD = ("precision", "recall")
OF_PAIRS, OF_SETS = (*BY_FRAME, *LPIPS), (*RULES, "inception_score")
# What is judged -> the metrics that it can have.
TASKS = {"reconstruction": (*OF_PAIRS, *OF_SETS), "generation": (*OF_SETS, *MANIFOLD)}
METRICS = (*OF_PAIRS, *OF_SETS, *MANIFOLD)


class ProtocolError(ValueError):
    """A protocol that does not exist or cannot be followed; the message is one sentence."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Attributes:
    media: "images" or "videos".
    metrics: names among METRICS, of the task.
    task: "reconstruction", of originals one by one, or "generation", of samples that have no partners among the references.
    frames: of a clip; 0 takes whole videos, encoded in chunks.
    clips: of a video: "first", "centre", or "all" of them one after the other, the last one filled up with its last frame.
    frame_rate: frames per second after sampling; 0 keeps the file's.
    sampling: "interval" takes every n-th frame, n = round(rate of the file / frame_rate); "faster" samples evenly, and only where
      the file is faster than frame_rate.
    resolution: height and width; 0 keeps them.
    resize: "short_side" and the middle is cut out, or "stretch", whatever the proportions. Both smooth, and round to 8 bits.
    interpolation: "bilinear" or "bicubic".
    samples: clips (of images: images) that the published numbers are over; 0 is all there are.
    reference_files: of generation: so many of the reference set, evenly spread over it in the order of names; 0 is all of them.
    manifold: references that precision and recall see, evenly spread over those; 0 is all of them.
    half_range: originals go through -0.5..0.5 and are cut to whole levels like reconstructions, as in OmniTokenizer's code.
    jpeg: above 0, FID sees both sides through JPEG files of this quality.
    reference: the data set that published numbers are over.
    source: where the protocol is from.
    """

    name: str
    media: str
    metrics: tuple[str, ...]
    task: str = "reconstruction"
    frames: int = 1
    clips: str = "first"
    frame_rate: float = 0.0
    sampling: str = "interval"
    resolution: int = 256
    resize: str = "short_side"
    interpolation: str = "bilinear"
    samples: int = 0
    reference_files: int = 0
    manifold: int = 0
    half_range: bool = False
    jpeg: int = 0
    reference: str = ""
    source: str = ""

    def digest(self) -> str:
        """Names what an original becomes by this protocol: all settings but the metrics, the numbers and the words about it."""
        left_out = ("name", "metrics", "task", "samples", "reference_files", "manifold", "reference", "source")
        kept = {key: value for key, value in dataclasses.asdict(self).items() if key not in left_out}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


_VIDTOK = "VidTok's scripts/inference_evaluate.py; its FVD is not published as code, so both usual ones are given"
_UCF = Protocol(
    "ucf-2048",
    "videos",
    ("fvd_videogpt",),
    task="generation",
    frames=16,
    clips="centre",
    resolution=128,
    resize="stretch",
    interpolation="bicubic",
    samples=2048,
    reference_files=2048,
    reference="UCF-101; papers differ in whether its test videos are among them",
    source="OmniTokenizer's fvd_external.py at the 16 frames that most papers compare; its own numbers are of frames=17",
)
_PICTURES = ("psnr", "ssim", "lpips_vgg16")
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "vidtok",
            "videos",
            (*_PICTURES, "flicker", "fvd_omnitokenizer", "fvd_styleganv"),
            frames=17,
            clips="all",
            frame_rate=30.0,
            reference="MCL-JCV, 30 videos, or WebVid's validation set; models that are not causal take frames=16",
            source=_VIDTOK,
        ),
        Protocol(
            "vidtok-whole",
            "videos",
            (*_PICTURES, "flicker"),
            frames=0,
            clips="all",
            frame_rate=30.0,
            reference="MCL-JCV, 30 videos",
            source="VidTok v1.1's --read_long_video: a video is one clip",
        ),
        Protocol(
            "omnitokenizer-image",
            "images",
            ("fid_torch", *_PICTURES),
            resize="stretch",
            interpolation="bicubic",
            samples=50_000,
            half_range=True,
            reference="ImageNet's validation set; jpeg=75 as published, whose pictures were kept as .JPEG files",
            source="OmniTokenizer's vqgan_eval.py and pytorch-fid",
        ),
        Protocol(
            "omnitokenizer-video",
            "videos",
            ("fvd_omnitokenizer", *_PICTURES),
            frames=17,
            clips="centre",
            frame_rate=16.0,
            sampling="faster",
            resize="stretch",
            interpolation="bicubic",
            half_range=True,
            reference="the validation split of Kinetics-600 or UCF-101, one clip of each video",
            source="OmniTokenizer's vqgan_eval.py with --sequence_length 17",
        ),
        Protocol(
            "imagenet-rfid-50k",
            "images",
            ("fid_tf1", "inception_score", *_PICTURES),
            interpolation="bicubic",
            samples=50_000,
            reference="ImageNet's validation set, compared with the same pictures after the crop",
            source="the evaluators of ADM and TiTok",
        ),
        Protocol(
            "adm-50k",
            "images",
            ("fid_tf1", "inception_score", *MANIFOLD),
            task="generation",
            interpolation="bicubic",
            samples=50_000,
            manifold=10_000,
            reference="ImageNet's training set",
            source="the evaluator of ADM, whose references are moments of all and 10,000 images for precision and recall",
        ),
        _UCF,
        dataclasses.replace(
            _UCF,
            name="k600-2048",
            frames=17,
            resolution=64,
            reference="Kinetics-600's validation split; samples go on from the first 5 frames of its videos, and begin with them",
            source="OmniTokenizer's fvd_external.py",
        ),
    )
}


def protocol_named(
    name: str, overrides: Sequence[str] = (), metrics: Sequence[str] = (), task: str | None = None
) -> tuple[Protocol, dict[str, Any]]:
    """A preset with overrides such as "frames=16", and with other metrics where some are named.

    Args:
      task: the one that it has to be of.

    Returns:
      (the protocol, what differs from the preset).

    Raises:
      ProtocolError: no such preset, setting or metric, a value that cannot be, or a preset of another task.
    """
    if name not in PROTOCOLS:
        raise ProtocolError(f"there is no protocol {name!r}{nearest(name, PROTOCOLS)}; there are: {', '.join(PROTOCOLS)}")
    preset = PROTOCOLS[name]
    if task not in (None, preset.task):
        raise ProtocolError(f"{name} is a protocol of {preset.task}; of {task} there are: {', '.join(protocols_of(task))}")
    return adjusted(preset, overrides, metrics)


def protocols_of(task: str) -> list[str]:
    """The names of its presets."""
    return [name for name, protocol in PROTOCOLS.items() if protocol.task == task]


def adjusted(preset: Protocol, overrides: Sequence[str] = (), metrics: Sequence[str] = ()) -> tuple[Protocol, dict[str, Any]]:
    """The same of a protocol that is at hand."""
    changes: dict[str, Any] = dict(_parsed(preset, text) for text in overrides)
    if metrics:
        changes["metrics"] = check_metrics(metrics, preset.task)
    protocol = dataclasses.replace(preset, **changes)
    _check(protocol)
    return protocol, {key: value for key, value in changes.items() if value != getattr(preset, key)}


def check_metrics(metrics: Sequence[str], task: str = "reconstruction") -> tuple[str, ...]:
    """Raises ProtocolError for a name that is no metric's, or that of one which the task cannot have."""
    known = TASKS[task]
    for metric in metrics:
        if metric not in METRICS:
            raise ProtocolError(f"there is no metric {metric!r}{nearest(metric, known)}; there are: {', '.join(known)}")
        if metric not in known:
            why = "compares pairs, and samples have no partners" if metric in OF_PAIRS else "is of generated samples"
            raise ProtocolError(f"{metric} {why}; of {task} there are: {', '.join(known)}")
    return tuple(metrics)


def shortage(protocol: Protocol, samples: Mapping[str, int]) -> list[str]:
    """What a reader has to know of the number of samples: a sentence on each stream that has too few."""
    found = []
    for stream, count in samples.items():
        if count < protocol.samples:
            found.append(f"{stream}: {count:,} samples, fewer than the {protocol.samples:,} of {protocol.name}: not its numbers")
    return found


def _parsed(preset: Protocol, text: str) -> tuple[str, Any]:
    key, mark, value = text.partition("=")
    fixed = ("name", "media", "metrics", "task", "samples", "reference_files", "manifold", "source", "reference")
    keys = [field.name for field in dataclasses.fields(Protocol) if field.name not in fixed]
    if not mark or key not in keys:
        raise ProtocolError(
            f"{text!r} sets nothing of a protocol{nearest(key, keys)}; write KEY=VALUE with one of {', '.join(keys)}"
        )
    kind = type(getattr(preset, key))
    try:
        return key, {"true": True, "false": False}[value.lower()] if kind is bool else kind(value)
    except (ValueError, KeyError) as error:
        raise ProtocolError(f"{key} of a protocol takes a value of type {kind.__name__}, not {value!r}") from error


def _check(protocol: Protocol) -> None:
    choices = {"media": ("images", "videos"), "clips": ("first", "centre", "all"), "sampling": ("interval", "faster")}
    choices |= {"resize": ("short_side", "stretch"), "interpolation": ("bilinear", "bicubic")}
    for key, allowed in choices.items():
        if getattr(protocol, key) not in allowed:
            raise ProtocolError(f"{key} of a protocol is one of {', '.join(allowed)}, not {getattr(protocol, key)!r}")
    clips = [metric for metric in protocol.metrics if metric.startswith("fvd")]
    if clips and not protocol.frames >= 9:
        raise ProtocolError(f"{clips[0]} needs clips of at least 9 frames, and these have {protocol.frames or 'any number'}")
    classes = [metric for metric in protocol.metrics if metric in ("inception_score", *MANIFOLD)]
    if classes and protocol.media != "images":
        raise ProtocolError(f"{classes[0]} is of images, and {protocol.name} is of {protocol.media}")
    if protocol.media == "images" and protocol.frames != 1:
        raise ProtocolError(f"{protocol.name} is of images, which have one frame, not frames={protocol.frames}")
    if not math.isfinite(protocol.frame_rate):
        raise ProtocolError(f"frame_rate of a protocol is a number of frames per second, not {protocol.frame_rate}")
    if min(protocol.frames, protocol.resolution, protocol.samples, protocol.jpeg, protocol.frame_rate) < 0 or protocol.jpeg > 100:
        raise ProtocolError(
            "frames, resolution, samples, frame_rate and jpeg of a protocol cannot be negative, nor jpeg above 100"
        )
