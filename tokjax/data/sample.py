"""A small data set made offline from the photographs that scikit-image carries, laid out like anyone's own data.

    OUT/train/images/PHOTOGRAPH/00.jpg   OUT/train/videos/000.mp4   OUT/train/videos.csv   and the same below OUT/validation

Images are crops at several scales. Clips are moving views of a photograph (pan, zoom, a slight rotation), with pieces of other
photographs passing in front. Every photograph belongs to one split only, so a score on `validation` is held out.
"""

from __future__ import annotations

import importlib.util
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from tokjax.data.decode import write_video
from tokjax.data.folders import new_folder
from tokjax.data.sources import DataError

# Photographs, and how many clips are views of each.
PHOTOGRAPHS = {
    "train": {
        "astronaut.png": 6,
        "motorcycle_left.png": 6,
        "rocket.jpg": 3,
        "ihc.png": 3,
        "retina.jpg": 2,
        "hubble_deep_field.jpg": 1,
        "camera.png": 2,
        "coins.png": 1,
        "brick.png": 0,
        "grass.png": 0,
    },
    "validation": {"coffee.png": 4, "chelsea.png": 4},
}
IMAGES_PER_PHOTOGRAPH = 8
FRAME_RATE, FRAMES = 24, 48
WIDTH, HEIGHT = 192, 144
MANIFEST = "sample.json"
_LONGEST_SIDE = 800
_OVERSAMPLING = 2  # views are rendered this much larger, then averaged: smooth edges, no aliasing


def prepare_sample(output: Path) -> bool:
    """Makes the sample data set. The folder appears whole or not at all, the same everywhere.

    Returns:
      False where `output` already is the finished sample and nothing was done.

    Raises:
      DataError: `output` holds something else, or scikit-image is missing. OSError.
    """
    output = Path(output)
    manifest = {"made by": "tokjax prepare sample", "photographs": {split: sorted(names) for split, names in PHOTOGRAPHS.items()}}
    if (output / MANIFEST).is_file() and json.loads((output / MANIFEST).read_text()) == manifest:
        return False
    folder = _photograph_folder()
    with new_folder(output) as partial:
        _render(folder, partial)
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    return True


def _photograph_folder() -> Path:
    """The files inside the scikit-image wheel; nothing is downloaded."""
    package = importlib.util.find_spec("skimage")
    if package is None:
        raise DataError('the sample is made from the photographs of scikit-image; pip install "tokjax[sample]"')
    return Path(package.origin).parent / "data"


def _render(folder: Path, output: Path) -> None:
    photographs = {split: {name: _load(folder / name) for name in names} for split, names in PHOTOGRAPHS.items()}
    total = sum(IMAGES_PER_PHOTOGRAPH * len(names) + sum(names.values()) for names in PHOTOGRAPHS.values())
    with tqdm(total=total, desc="sample", unit=" files", disable=None) as bar:  # None: only on a terminal
        for split in PHOTOGRAPHS:
            for _ in _write_images(photographs[split], output / split / "images"):
                bar.update()
            for _ in _write_videos(split, photographs[split], output / split):
                bar.update()


def _load(path: Path) -> Image.Image:
    if not path.is_file():
        raise DataError(f"scikit-image has no file {path}; install scikit-image 0.25 or later")
    photograph = Image.open(path).convert("RGB")
    photograph.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
    return photograph


def _rng(*name: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32("/".join(map(str, name)).encode()))


def _write_images(photographs: dict[str, Image.Image], folder: Path) -> Iterator[Path]:
    """Crops of 160 to 320 pixels a side, from half the largest scale at which they fit to the largest."""
    for name, photograph in photographs.items():
        for number in range(IMAGES_PER_PHOTOGRAPH):
            rng = _rng("image", name, number)
            width, height = (int(rng.integers(160, 321)) for _ in range(2))
            largest = min(photograph.width / width, photograph.height / height)
            shrink = float(rng.uniform(largest * 0.5, largest))
            left = float(rng.uniform(0, photograph.width - width * shrink))
            top = float(rng.uniform(0, photograph.height - height * shrink))
            box = (left, top, left + width * shrink, top + height * shrink)
            path = folder / Path(name).stem / f"{number:02d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            photograph.resize((width, height), Image.Resampling.LANCZOS, box=box).save(path, quality=92)
            yield path


def _write_videos(split: str, photographs: dict[str, Image.Image], folder: Path) -> Iterator[Path]:
    subjects = [name for name, clips in PHOTOGRAPHS[split].items() for _ in range(clips)]
    names = [f"{number:03d}.mp4" for number in range(len(subjects))]
    (folder / "videos").mkdir()
    (folder / "videos.csv").write_text("videos\n" + "".join(f"{name}\n" for name in names))
    for name, subject in zip(names, subjects, strict=True):
        path = folder / "videos" / name
        write_video(path, _frames(photographs, subjects, subject, _rng("video", split, name)), FRAME_RATE)
        yield path


def _frames(
    photographs: dict[str, Image.Image], subjects: list[str], subject: str, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """The frames uint8 [h,w,3] of one clip: a view of `subject`, and one or two pieces of other subjects."""
    photograph = photographs[subject]
    background = _camera_path(photograph, rng)
    others = [name for name in subjects if name != subject]
    objects = [_Object(photographs[others[rng.integers(len(others))]], rng) for _ in range(rng.integers(1, 3))]
    size = (WIDTH * _OVERSAMPLING, HEIGHT * _OVERSAMPLING)
    for frame in range(FRAMES):
        x, y, scale, angle = background[frame]
        picture = _view(photograph, (x, y), scale / _OVERSAMPLING, angle, size, (size[0] / 2, size[1] / 2))
        for one in objects:
            one.paste(picture, frame)
        yield np.asarray(picture.reduce(_OVERSAMPLING))


def _smooth(rng: np.random.Generator, begin: float, end: float, sway: float) -> np.ndarray:
    """[FRAMES] from `begin` to `end` at a speed that changes gently."""
    time = np.linspace(0, 1, FRAMES)
    turns, phase = rng.uniform(0.5, 1.5), rng.uniform(0, 2 * np.pi)
    return begin + (end - begin) * time + sway * np.sin(2 * np.pi * turns * time + phase)


def _camera_path(photograph: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """[FRAMES, 4]: centre x and y in the photograph, its pixels per pixel of the clip, angle; the view stays inside."""
    half_diagonal = np.hypot(WIDTH, HEIGHT) / 2
    largest = min(photograph.width, photograph.height) / 2 / half_diagonal
    scale = np.exp(_smooth(rng, *np.log(largest * rng.uniform(0.5, 0.9, 2)), 0.03))
    angle = np.radians(_smooth(rng, *rng.uniform(-12, 12, 2), 1.0))
    margin = scale * half_diagonal
    path = []
    for side in (photograph.width, photograph.height):
        begin, end = rng.uniform(0, 1, 2)
        share = np.clip(_smooth(rng, begin, end, 0.03), 0, 1)
        path.append(margin + share * (side - 2 * margin))
    return np.stack([*path, scale, angle], axis=1)


def _view(
    picture: Image.Image,
    centre: tuple[float, float],
    step: float,
    angle: float,
    size: tuple[int, int],
    target: tuple[float, float],
) -> Image.Image:
    """`picture` turned and scaled, its point `centre` at `target` of the result, `step` of its pixels to one of the result's."""
    cos, sin = step * np.cos(angle), step * np.sin(angle)
    x, y = centre[0] - cos * target[0] + sin * target[1], centre[1] - sin * target[0] - cos * target[1]
    return picture.transform(size, Image.Transform.AFFINE, (cos, -sin, x, sin, cos, y), Image.Resampling.BILINEAR)


class _Object:
    """An oval or rectangular piece of a photograph that crosses the view, turning."""

    def __init__(self, photograph: Image.Image, rng: np.random.Generator) -> None:
        size = rng.integers(32, 61, 2)
        corner = [rng.uniform(0, side - 2 * length) for side, length in zip(photograph.size, size, strict=True)]
        box = (*corner, *(corner + 2 * size))
        self.sprite = photograph.resize(tuple((size * _OVERSAMPLING).tolist()), Image.Resampling.LANCZOS, box=box)
        mask = Image.new("L", self.sprite.size)
        draw = ImageDraw.Draw(mask)
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)((0, 0, mask.width - 1, mask.height - 1), fill=255)
        self.sprite.putalpha(mask)
        begin, end = rng.permutation([rng.uniform(0.05, 0.35), rng.uniform(0.65, 0.95)])
        self.x = _smooth(rng, begin * WIDTH, end * WIDTH, 6.0)
        self.y = _smooth(rng, *rng.uniform(0.2, 0.8, 2) * HEIGHT, 6.0)
        self.angle = np.radians(_smooth(rng, *rng.uniform(-40, 40, 2), 5.0))

    def paste(self, picture: Image.Image, frame: int) -> None:
        """Draws itself into the oversampled picture of a frame."""
        x, y = self.x[frame] * _OVERSAMPLING, self.y[frame] * _OVERSAMPLING
        reach = int(np.hypot(*self.sprite.size) / 2) + 2
        corner = (int(x) - reach, int(y) - reach)
        centre = (self.sprite.width / 2, self.sprite.height / 2)
        target = (x - corner[0], y - corner[1])
        layer = _view(self.sprite, centre, 1.0, self.angle[frame], (2 * reach, 2 * reach), target)
        picture.paste(layer, corner, mask=layer)
