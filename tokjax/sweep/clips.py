"""The same clips through every row's model, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from tokjax.conversion.package import load
from tokjax.data.pipeline import evaluation_batches
from tokjax.evaluation.gallery import MILLISECONDS, SMALL_SIDE
from tokjax.evaluation.pixels import psnr
from tokjax.sweep.picture_files import data_uri

CLIPS = 2  # of each validation stream


def clips_of(streams: Mapping[str, Mapping[str, object]]) -> dict[str, np.ndarray]:
    """The first clips of each validation stream, uint8 [t,h,w,3] by name."""
    found = {}
    for name, stream in streams.items():
        taken = ((id, clip) for ids, video, valid in evaluation_batches(dict(stream)) for id, clip in _valid(ids, video, valid))
        found |= {f"{name} / {id}": clip for id, clip in islice(taken, CLIPS)}
    return found


def _valid(ids: Sequence[str], video: np.ndarray, valid: np.ndarray) -> list[tuple[str, np.ndarray]]:
    return [(id, clip) for id, clip, whole in zip(ids, video, valid, strict=True) if whole]


def gallery_of(models: Mapping[str, Path], streams: Mapping[str, Mapping[str, object]]) -> str:
    """HTML: a strip for each clip, the original and then each model's reconstruction; clips move.

    Args:
      models: workdirs of trained models, by row.
      streams: `config.data.validation`, whose first clips are shown.
    """
    clips = clips_of(streams)
    shown: dict[str, list[tuple[str, np.ndarray, str]]] = {name: [("original", clip, "")] for name, clip in clips.items()}
    for row, folder in models.items():
        tokenizer = load(folder)
        for name, clip in clips.items():
            again = np.asarray(tokenizer.reconstruct(clip[None]))[0]
            shown[name].append((row, again, f"{_psnr(clip, again):.2f} dB"))
    strips = [_strip(name, parts) for name, parts in shown.items()]
    return f"<h2>The same clips</h2>{''.join(strips)}" if models and strips else ""


def _psnr(clip: np.ndarray, again: np.ndarray) -> float:
    """Of two uint8 clips, the mean over frames."""
    one, other = (np.asarray(video[None], np.float32) / 255 for video in (clip, again))
    return float(psnr(one, other).mean())


def _strip(name: str, parts: Sequence[tuple[str, np.ndarray, str]]) -> str:
    cells = "".join(_cell(label, clip, note) for label, clip, note in parts)
    return f'<figure><figcaption>{escape(name)}</figcaption><div class="stills">{cells}</div></figure>'


def _cell(label: str, clip: np.ndarray, note: str) -> str:
    uri = data_uri([Image.fromarray(frame) for frame in clip], MILLISECONDS)
    small = ' class="small"' if max(clip.shape[1:3]) <= SMALL_SIDE else ""
    text = escape(label, quote=True)
    return f'<div><img{small} src="{uri}" alt="{text}"><small>{escape(label)} {escape(note)}</small></div>'
