"""Which files are samples, and every way in which a folder of them cannot be used."""

import dataclasses
import json

import numpy as np
import pytest

from tokjax.data.decode import write_image, write_video
from tokjax.data.sources import DataError
from tokjax.evaluation.protocols import PROTOCOLS
from tokjax.evaluation.samples import Samples, how_made, samples_in, spread
from tokjax.generation.album import write_album

IMAGES = dataclasses.replace(PROTOCOLS["adm-50k"], resolution=16)
VIDEOS = dataclasses.replace(PROTOCOLS["ucf-2048"], resolution=16, frames=9)


def noise(frames=1, side=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (frames, side, side, 3), np.uint8)


def test_the_grid_beside_samples_is_none(tmp_path):
    write_album(tmp_path, [noise(seed=i) for i in range(3)], [5, 5, 7], {"seed": "3"}, 8)
    assert (tmp_path / "grid.png").is_file()
    found = samples_in(tmp_path, "images")
    assert found.ids == ["samples/000000_class_0005.png", "samples/000001_class_0005.png", "samples/000002_class_0007.png"]
    assert how_made(tmp_path) == {"seed": "3"}
    (tmp_path / found.ids[1]).unlink()
    with pytest.raises(DataError, match=r"samples.json lists samples/000001_class_0005.png, which is not there"):
        samples_in(tmp_path, "images")
    for content in ([1], {"samples": [{"file": 1}]}):
        (tmp_path / "samples.json").write_text(json.dumps(content))
        with pytest.raises(DataError, match="is no list that `tokjax generate` wrote"):
            samples_in(tmp_path, "images")


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match=r"the folder .*none does not exist"):
        samples_in(tmp_path / "none", "images")
    with pytest.raises(DataError, match=r"no samples below .*; looked for jpg jpeg png webp npy"):
        samples_in(tmp_path, "images")
    write_image(tmp_path / "a.png", noise()[0])
    assert samples_in(tmp_path, "images").ids == ["a.png"] and how_made(tmp_path) == {}
    with pytest.raises(DataError, match=r"holds images, as a.png, but the protocol is of videos; .*adm-50k, ucf-2048, k600-2048"):
        samples_in(tmp_path, "videos")
    write_video(tmp_path / "b.mp4", noise(2), 8)
    with pytest.raises(DataError, match=r"holds both images and videos \(a.png and b.mp4\)"):
        samples_in(tmp_path, "images")


def test_names_are_spread_over_all():
    names = [f"{i}" for i in range(10)]
    assert spread(names, 4) == ["0", "2", "5", "7"]
    assert spread(names, 0) == spread(names, 99) == names


def clips_of(folder, protocol):
    samples = Samples(protocol, samples_in(folder, protocol.media), 2)
    return {id: clip for ids, video, valid in samples for id, clip in zip(ids, video[valid], strict=False)}, samples


def test_frames_are_taken_as_they_are(tmp_path):
    """A frame rate is that of references; of longer samples the middle is seen, and floats stay floats."""
    long, floats = noise(11), np.linspace(-1, 1, 9 * 16 * 16 * 3, dtype=np.float32).reshape(9, 16, 16, 3)
    np.save(tmp_path / "a.npy", long), np.save(tmp_path / "b.npy", floats)
    found, samples = clips_of(tmp_path, dataclasses.replace(VIDEOS, frame_rate=1.0))
    np.testing.assert_array_equal(found["a.npy"], long[1:10])
    np.testing.assert_array_equal(found["b.npy"], floats)
    assert samples.resized is None


def test_larger_samples_are_resized_and_that_is_said(tmp_path):
    np.save(tmp_path / "a.npy", noise(side=32))
    found, samples = clips_of(tmp_path, IMAGES)
    assert found["a.npy"].shape == (1, 16, 16, 3) and samples.resized == "a.npy is 32 x 32"


@pytest.mark.parametrize(
    ("protocol", "array", "message"),
    [
        (IMAGES, noise(side=12), r"a.npy is 12 x 12, smaller than the 16 x 16 of adm-50k; .*--set resolution=12"),
        (IMAGES, noise(2), "a.npy holds 2 frames, but adm-50k is of images"),
        (VIDEOS, noise(8), r"a.npy has 8 frames, fewer than the 9 of ucf-2048; .*--set frames=8"),
        (VIDEOS, np.zeros((9, 16, 16)), "a.npy holds float64"),
    ],
)
def test_samples_that_do_not_fit(tmp_path, protocol, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=message):
        clips_of(tmp_path, protocol)


def test_unreadable_files_are_named(tmp_path):
    write_image(tmp_path / "a.png", noise()[0])
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with pytest.raises(DataError, match=r"b\.png"):
        clips_of(tmp_path, IMAGES)
    (tmp_path / "a.png").unlink(), (tmp_path / "b.png").unlink()
    write_video(tmp_path / "c.mp4", noise(12), 8)
    content = (tmp_path / "c.mp4").read_bytes()
    (tmp_path / "c.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"c\.mp4"):
        clips_of(tmp_path, VIDEOS)
