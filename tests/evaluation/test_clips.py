import dataclasses

import numpy as np
import pytest
from PIL import Image

from tokjax.data.decode import write_image, write_video
from tokjax.data.sources import DataError
from tokjax.evaluation.clips import Clips, cut, fitted, read_array, sampled
from tokjax.evaluation.pairs import files_of
from tokjax.evaluation.protocols import PROTOCOLS, Protocol


def plain(**changes):
    return Protocol("test", "videos", ("psnr",), **{"resolution": 0, "frames": 4, **changes})


@pytest.mark.parametrize(
    ("name", "count", "rate", "expected"),
    [
        ("vidtok", 8, 60.0, [0, 2, 4, 6]),
        ("vidtok", 4, 24.0, [0, 1, 2, 3]),
        ("vidtok", 7, 75.0, [0, 2, 4, 6]),  # 2.5 rounds to the even 2, as Python does
        ("omnitokenizer-video", 10, 15.0, list(range(10))),
        ("omnitokenizer-video", 30, 30.0, np.linspace(0, 29, 16).astype(int).tolist()),
    ],
)
def test_frames_of_the_presets(name, count, rate, expected):
    assert sampled(count, rate, PROTOCOLS[name]).tolist() == expected


def numbered(count):
    """Frames whose pixels are their number."""
    return iter(np.full((1, 1, 3), number, np.uint8) for number in range(count))


@pytest.mark.parametrize(
    ("clips", "frames", "count", "expected"),
    [
        ("all", 4, 9, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 8, 8, 8]]),
        ("all", 0, 5, [[0, 1, 2, 3, 4]]),
        ("first", 4, 9, [[0, 1, 2, 3]]),
        ("first", 4, 2, [[0, 1, 1, 1]]),
        ("centre", 4, 9, [[2, 3, 4, 5]]),
        ("centre", 4, 3, [[0, 1, 2, 2]]),
    ],
)
def test_cutting(clips, frames, count, expected):
    found = cut(numbered(count), np.arange(count), plain(clips=clips, frames=frames))
    assert [clip[:, 0, 0, 0].tolist() for clip in found] == expected


def test_a_file_that_ends_early_gives_what_it_has():
    found = list(cut(numbered(3), np.array([0, 1, 1, 2, 5]), plain(clips="all", frames=3)))
    assert [clip[:, 0, 0, 0].tolist() for clip in found] == [[0, 1, 1], [2, 2, 2]]


def test_sizes():
    """The shorter side is resized and the middle cut out; or everything is stretched. Both by Pillow, which smooths."""
    frame = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    image = Image.fromarray(frame)
    stretched = fitted(frame, plain(resolution=8, resize="stretch", interpolation="bicubic"))
    np.testing.assert_array_equal(stretched, image.resize((8, 8), Image.Resampling.BICUBIC))
    cropped = fitted(frame, plain(resolution=8))
    np.testing.assert_array_equal(cropped, np.asarray(image.resize((12, 8), Image.Resampling.BILINEAR))[:, 2:10])
    assert fitted(frame, plain()) is frame


def test_batches_hold_one_shape_and_say_what_is_filled(tmp_path):
    rng = np.random.default_rng(0)
    for name, side in (("a", 8), ("b", 8), ("c", 8), ("d", 6)):
        write_image(tmp_path / f"{name}.png", rng.integers(0, 256, (side, side, 3), np.uint8))
    (tmp_path / "bad.png").write_bytes(b"none")
    clips = Clips(dataclasses.replace(plain(frames=1), media="images"), files_of(tmp_path, "images"), 2, done={"b.png"})
    found = [(ids, video.shape, valid.tolist()) for ids, video, valid in clips]
    assert found == [(["a.png", "c.png"], (2, 1, 8, 8, 3), [True, True]), (["d.png", ""], (2, 1, 6, 6, 3), [True, False])]
    assert [row["id"] for row in clips.bad] == ["bad.png"]


def test_clips_of_a_video_have_numbers(tmp_path):
    frames = [np.full((16, 16, 3), 20 * number, np.uint8) for number in range(5)]
    write_video(tmp_path / "v.mp4", frames, 10)
    source = files_of(tmp_path, "videos")
    found = list(Clips(plain(clips="all", frames=2), source, 8, done={"v.mp4#1"}).each())
    assert [id for id, _ in found] == ["v.mp4#0", "v.mp4#2"]
    np.testing.assert_allclose(found[1][1].mean((1, 2, 3)), [80, 80], atol=2)


def test_no_usable_file(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"none")
    with pytest.raises(DataError, match=r"no file below .* can be used, the last is bad.png"):
        list(Clips(dataclasses.replace(plain(frames=1), media="images"), files_of(tmp_path, "images"), 2))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((1, 4, 4, 3), np.nan, np.float32), "pixels that are not finite"),
        (np.full((1, 4, 4, 3), 255.0, np.float32), "holds floats from 255 to 255, but float pixels lie in -1..1"),
        (np.zeros((4, 4, 3), np.float32), r"float32 \(4, 4, 3\); give uint8 or floats"),
        (np.zeros((1, 4, 4, 3), np.int64), "int64"),
        (np.zeros((0, 4, 4, 3), np.uint8), r"holds no frames, its shape is \(0, 4, 4, 3\)"),
    ],
)
def test_arrays_that_are_refused(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=message):
        read_array(tmp_path / "a.npy")


def test_arrays_of_one_shape_are_told_apart_by_what_they_hold(tmp_path):
    prints = []
    for level in (0, 1):
        np.save(tmp_path / "a.npy", np.full((1, 4, 4, 3), level, np.uint8))
        prints.append(files_of(tmp_path, "images").fingerprint())
    assert prints[0] != prints[1]


def test_hidden_files_are_no_samples_and_links_to_folders_are_followed(tmp_path):
    for name in ("here/.cache/a.png", "here/.b.png", "here/d.png", "there/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "here" / "link").symlink_to(tmp_path / "there")
    assert files_of(tmp_path / "here", "images").ids == ["d.png", "link/c.png"]
