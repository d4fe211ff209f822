"""The offline sample: layout, split, determinism, and that it never overwrites."""

import csv
import sys

import numpy as np
import pytest
from PIL import Image

from tokjax.data import sample
from tokjax.data.decode import read_video
from tokjax.data.sources import DataError

pytest.importorskip("skimage", reason="the sample is made from the photographs of scikit-image")


@pytest.fixture
def small(monkeypatch):
    """A shorter version of the same data set."""
    few = {"train": {"astronaut.png": 1, "rocket.jpg": 1, "grass.png": 0}, "validation": {"coffee.png": 1, "chelsea.png": 1}}
    for name, value in {"PHOTOGRAPHS": few, "IMAGES_PER_PHOTOGRAPH": 2, "FRAMES": 6}.items():
        monkeypatch.setattr(sample, name, value)


def test_layout_is_a_users_own(small, tmp_path):
    assert sample.prepare_sample(tmp_path / "out" / "data")
    root = tmp_path / "out" / "data"
    assert sorted(path.name for path in root.parent.iterdir()) == ["data"]
    for split, photographs in sample.PHOTOGRAPHS.items():
        images = sorted((root / split / "images").rglob("*.jpg"))
        assert {path.parent.name for path in images} == {name.split(".")[0] for name in photographs}
        assert len(images) == 2 * len(photographs)
        assert all(160 <= side <= 320 for path in images for side in Image.open(path).size)
        with open(root / split / "videos.csv") as file:
            listed = [row["videos"] for row in csv.DictReader(file)]
        assert listed == sorted(path.name for path in (root / split / "videos").iterdir()) == ["000.mp4", "001.mp4"]
        for name in listed:
            frames, rate = read_video(root / split / "videos" / name)
            clip = np.stack(list(frames)).astype(float)
            assert clip.shape == (6, 144, 192, 3) and rate == 24
            change = np.abs(np.diff(clip, axis=0)).mean(axis=(1, 2, 3))
            assert (change > 0.3).all() and clip.std() > 15  # it moves, and shows something


def test_the_same_bytes_every_time_and_a_finished_one_is_kept(small, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert sample.prepare_sample(first) and sample.prepare_sample(second)
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in files)
    assert not sample.prepare_sample(first)


def test_splits_share_no_photograph_and_clips_show_their_own_split():
    train, validation = (set(names) for names in sample.PHOTOGRAPHS.values())
    assert not train & validation
    assert (sum(sample.PHOTOGRAPHS["train"].values()), sum(sample.PHOTOGRAPHS["validation"].values())) == (24, 8)
    folder = sample._photograph_folder()
    for names in (train, validation):
        colours = [np.ptp(np.asarray(Image.open(folder / name).convert("RGB"), int), axis=-1).mean() for name in names]
        assert sum(spread > 30 for spread in colours) >= 2  # both have colourful photographs


def test_views_stay_inside_the_photograph():
    photograph = Image.new("RGB", (451, 300), (255, 255, 255))
    for seed in range(20):
        path = sample._camera_path(photograph, np.random.default_rng(seed))
        for x, y, scale, angle in path[::12]:
            size = (sample.WIDTH, sample.HEIGHT)
            view = sample._view(photograph, (x, y), scale, angle, size, (size[0] / 2, size[1] / 2))
            assert np.asarray(view).min() == 255


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="already exists"):
        sample.prepare_sample(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_missing_photographs_name_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    monkeypatch.setattr(sample.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r'pip install "tokjax\[sample\]"'):
        sample.prepare_sample(tmp_path / "out")
    assert not any(tmp_path.iterdir())
