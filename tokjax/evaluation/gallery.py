"""Clips beside their reconstructions and the difference of the two, as HTML with the pictures inside."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from PIL import Image

from tokjax.evaluation.examples import Picture

GAIN = 4  # of the shown difference
GAP = 4  # transparent pixels between the parts of a strip
LONGEST_SIDE = 512  # larger pictures are shrunk by a whole factor
SMALL_SIDE = 160  # pictures up to this are enlarged with sharp pixels
MOST_FRAMES = 64  # of an animation
MILLISECONDS = 125  # that each of its frames is shown
LABELS = ("original", "reconstruction", f"difference ×{GAIN}")


def gallery(pictures: Sequence[Picture]) -> str:
    """Images as lossless PNG; clips as one animated WebP, so that its three parts stay in step, over three of its frames."""
    if not pictures:
        return ""
    note = f"The difference is absolute and shown {GAIN} times as strong."
    return f"<h2>Pictures</h2><p>{note}</p>" + "".join(_still(p) if len(p.original) == 1 else _moving(p) for p in pictures)


def sample_gallery(samples: Mapping[str, np.ndarray]) -> str:
    """Clips [t,h,w,3] that have no original, by name: images as PNG, others moving."""
    if not samples:
        return ""
    cells = []
    for name, frames in samples.items():
        first, *more = (Image.fromarray(_fitting(frame)) for frame in frames[:MOST_FRAMES])
        uri = _encoded(first, "WEBP", more) if more else _encoded(first, "PNG")
        cells.append(f"<div>{_element(uri, first.size, name)}<small>{escape(name)}</small></div>")
    return f'<h2>Samples</h2><div class="stills">{"".join(cells)}</div>'


def difference(original: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """GAIN x the absolute difference of two uint8 arrays, clipped to 255."""
    return np.clip(GAIN * np.abs(original.astype(np.int32) - reconstruction), 0, 255).astype(np.uint8)


def _still(picture: Picture) -> str:
    original, reconstruction = picture.original[0], picture.reconstruction[0]
    images = [Image.fromarray(_fitting(image)) for image in (original, reconstruction, difference(original, reconstruction))]
    parts = [
        f"<div>{_element(_encoded(image, 'PNG'), image.size, f'{picture.name}, {label}')}<small>{label}</small></div>"
        for image, label in zip(images, LABELS, strict=True)
    ]
    body = f'<div class="frames" tabindex="0"><div class="three">{"".join(parts)}</div></div>'
    return _figure(picture.name, body, picture.note)


def _moving(picture: Picture) -> str:
    frames = len(picture.original)
    strips = [_strip(a, b) for a, b in zip(picture.original[:MOST_FRAMES], picture.reconstruction[:MOST_FRAMES], strict=True)]
    part = (strips[0].width, strips[0].height * 3)
    moving = _element(_encoded(strips[0], "WEBP", strips[1:]), part, f"{picture.name}, moving")
    labels = "".join(f"<small>{label}</small>" for label in LABELS)
    stills = []
    for index in sorted({0, frames // 2, frames - 1}):
        strip = _strip(picture.original[index], picture.reconstruction[index])
        image = _element(_encoded(strip, "WEBP"), part, f"{picture.name}, frame {index + 1}")
        stills.append(f"<div>{image}<small>frame {index + 1}</small></div>")
    length = f"{frames} frames" if frames <= MOST_FRAMES else f"the first {MOST_FRAMES} of {frames} frames move"
    shown = f'<div class="frames" tabindex="0"><div class="moving">{moving}<div class="three">{labels}</div></div>'
    body = f'{_controls()}{shown}<div class="stills">{"".join(stills)}</div></div>'
    return _figure(f"{picture.name} ({length})", body, picture.note)


def _strip(original: np.ndarray, reconstruction: np.ndarray) -> Image.Image:
    """Original, reconstruction and difference [h,w,3] side by side, as RGBA with transparent gaps."""
    parts = [Image.fromarray(_fitting(image)) for image in (original, reconstruction, difference(original, reconstruction))]
    width, height = parts[0].size
    strip = Image.new("RGBA", (3 * width + 2 * GAP, height))
    for place, part in enumerate(parts):
        strip.paste(part, (place * (width + GAP), 0))
    return strip


def _fitting(image: np.ndarray) -> np.ndarray:
    factor = math.ceil(max(image.shape[:2]) / LONGEST_SIDE)
    return image if factor == 1 else np.asarray(Image.fromarray(image).reduce(factor))


def _encoded(image: Image.Image, kind: str, more: Sequence[Image.Image] = ()) -> str:
    """A data URI; WebP is encoded at quality 90, with `more` frames as an endless animation."""
    buffer = io.BytesIO()
    if kind == "PNG":
        image.save(buffer, kind, optimize=True)
    else:
        image.save(buffer, kind, quality=90, save_all=bool(more), append_images=more, duration=MILLISECONDS, loop=0)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _element(uri: str, size: tuple[int, int], text: str) -> str:
    small = ' class="small"' if max(size) <= SMALL_SIDE else ""
    return f'<img{small} src="{uri}" alt="{escape(text, quote=True)}">'


def _controls() -> str:
    """What a keyboard reaches: the moving part on or off, and a width at which a phone shows details."""
    boxes = (("play", " checked"), ("larger", ""))
    labels = (f'<label><input type="checkbox" class="{name}"{state}/>{name}</label>' for name, state in boxes)
    return f'<div class="controls">{"".join(labels)}</div>'


def _figure(caption: str, body: str, note: str = "") -> str:
    about = f"<p>{escape(note[:1].upper() + note[1:])}</p>" if note else ""
    return f'<figure class="clip"><figcaption>{escape(caption)}</figcaption>{about}{body}</figure>'


def map_gallery(maps: Mapping[str, np.ndarray]) -> str:
    """Latents as colours, uint8 [t,h,w,3] by the clip's name: the times side by side, with sharp pixels."""
    if not maps:
        return ""
    note = (
        "The three main directions in which the latents of a clip vary are its red, green and blue, from left to right in time."
    )
    figures = []
    for name, frames in maps.items():
        strip = Image.fromarray(np.concatenate([np.pad(one, ((0, 0), (0, 1), (0, 0))) for one in frames], axis=1))
        image = f'<img class="small" src="{_encoded(strip, "PNG")}" alt="{escape(f"{name}, latents", quote=True)}">'
        figures.append(_figure(name, f'<div class="frames" tabindex="0">{image}</div>'))
    return f"<h2>Latents</h2><p>{note}</p>" + "".join(figures)
