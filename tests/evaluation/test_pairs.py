"""Reconstructions of somebody else: the numbers of the same pixels from a model, and every way in which folders do not match."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from tokjax.data.decode import write_image
from tokjax.data.sources import DataError
from tokjax.evaluation.evaluator import evaluate, evaluate_pairs
from tokjax.evaluation.pairs import Pairs, as_they_are, files_of
from tokjax.evaluation.protocol_run import Setup, evaluate_folder
from tokjax.evaluation.protocols import Protocol
from tokjax.models.mesh import make_mesh

AS_THEY_ARE = Protocol("as they are", "videos", ("psnr", "ssim", "flicker"), frames=0, clips="all", resolution=0)


def write(folder, **arrays):
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


@pytest.fixture
def videos():
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 256, (length, 16, 20, 3), np.uint8) for name, length in (("a", 3), ("b", 3), ("c", 5))}


def spoiled(video):
    return np.clip(video / np.float32(127.5) - 1 + 0.1 * np.sin(np.arange(video.size)).reshape(video.shape), -1, 1).astype(
        np.float32
    )


def test_the_numbers_of_the_same_pixels(tmp_path, videos):
    originals = write(tmp_path / "originals", **videos)
    theirs = write(tmp_path / "theirs", **{name: spoiled(video) for name, video in videos.items()})
    pairs = Pairs(AS_THEY_ARE, files_of(originals, "videos"), files_of(theirs, "videos"), 2)
    result, _ = evaluate_pairs({"videos": pairs})
    batches = [([name], video[None], np.array([True])) for name, video in videos.items()]
    expected, _ = evaluate(lambda video: (jnp.asarray(spoiled(video[0]))[None], None), {"videos": batches})
    for key in ("psnr", "ssim"):
        assert result["streams"]["videos"][key] == pytest.approx(expected["streams"]["videos"][key], rel=1e-6)
    assert (result["streams"]["videos"]["clips"], result["streams"]["videos"]["frames"]) == (3, 11)


def test_uint8_reconstructions_are_cut_like_originals(tmp_path, videos):
    originals = write(tmp_path / "originals", **videos)
    theirs = write(tmp_path / "theirs", **{name: 255 - video for name, video in videos.items()})
    protocol = dataclasses.replace(AS_THEY_ARE, frames=2, resolution=16)
    for ids, video, valid, again, codes in Pairs(protocol, files_of(originals, "videos"), files_of(theirs, "videos"), 3):
        assert video.shape[1:] == (2, 16, 16, 3) and len(ids) == 3 and codes is None
        np.testing.assert_array_equal(np.asarray(again)[valid], 255 - video[valid])


def test_reconstructions_of_the_protocols_own_size(tmp_path, videos):
    originals = write(tmp_path / "originals", a=videos["c"])
    protocol = dataclasses.replace(AS_THEY_ARE, frames=2, resolution=16)
    small = videos["c"][:, :, 2:18]
    theirs = write(tmp_path / "theirs", a=small)
    batches = list(Pairs(protocol, files_of(originals, "videos"), files_of(theirs, "videos"), 3))
    np.testing.assert_array_equal(batches[0][1], np.asarray(batches[0][3]))
    write(tmp_path / "short", a=small[:2])
    with pytest.raises(DataError, match=r"short/a.npy holds nothing where a.npy#1 has 2 frames of 16 x 16"):
        list(Pairs(protocol, files_of(originals, "videos"), files_of(tmp_path / "short", "videos"), 3))


def test_images_pair_with_other_endings(tmp_path):
    for folder in ("originals", "theirs"):
        (tmp_path / folder / "deep").mkdir(parents=True)
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    write_image(tmp_path / "originals" / "deep" / "x.png", image)
    np.save(tmp_path / "theirs" / "deep" / "x.npy", image[None])
    protocol, overrides = as_they_are(tmp_path / "originals")
    setup = Setup(protocol, overrides, {}, tmp_path / "originals", tmp_path, tmp_path / "cache", 8)
    result, pictures = evaluate_folder(setup, tmp_path / "theirs", make_mesh({"data": -1, "fsdp": 1, "context": 1}))
    assert result["streams"]["images"]["psnr"] == pytest.approx(80, abs=1e-3) and len(pictures) == 1
    assert result["model"]["name"] == "theirs" and result["protocol"]["preset"] == "as they are"


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        (("a", "b", "c"), ("b", "d"), r"the folders do not hold the same names: .*originals lacks d; .*theirs lacks a, c"),
        (tuple("abcdefgh"), ("a",), r"theirs lacks b, c, d, e, f and 2 more \(7 in all\)"),
    ],
)
def test_unequal_sets_are_listed(tmp_path, left, right, message):
    video = np.zeros((1, 16, 16, 3), np.uint8)
    originals = files_of(write(tmp_path / "originals", **dict.fromkeys(left, video)), "videos")
    theirs = files_of(write(tmp_path / "theirs", **dict.fromkeys(right, video)), "videos")
    with pytest.raises(DataError, match=message):
        Pairs(AS_THEY_ARE, originals, theirs, 1)


@pytest.mark.parametrize(
    ("original", "theirs", "message"),
    [
        (np.zeros((2, 16, 16, 3), np.uint8), np.zeros((3, 16, 16, 3), np.uint8), "holds 3 frames of 16 x 16 where a.npy has 2"),
        (np.zeros((2, 16, 16, 3), np.uint8), np.full((2, 16, 16, 3), np.nan, np.float32), "pixels that are not finite"),
        (np.zeros((2, 16, 16, 3), np.uint8), np.full((2, 16, 16, 3), 200.0, np.float32), "holds floats from 200 to 200"),
        (
            np.zeros((2, 16, 16, 3), np.float32),
            np.zeros((2, 16, 16, 3), np.float32),
            "a.npy holds floats, but originals are uint8",
        ),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, original, theirs, message):
    sides = [files_of(write(tmp_path / name, a=array), "videos") for name, array in (("originals", original), ("theirs", theirs))]
    with pytest.raises(DataError, match=message):
        list(Pairs(AS_THEY_ARE, *sides, 1))


def test_folders_without_files_and_names_that_stand_twice(tmp_path):
    with pytest.raises(DataError, match=r"the folder .* does not exist"):
        files_of(tmp_path / "none", "images")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images below"):
        files_of(tmp_path / "empty", "images")
    video = np.zeros((1, 16, 16, 3), np.uint8)
    originals = write(tmp_path / "originals", a=video)
    write_image(originals / "a.png", video[0])
    theirs = write(tmp_path / "theirs", a=video)
    with pytest.raises(DataError, match=r"holds both a.npy and a.png"):
        Pairs(dataclasses.replace(AS_THEY_ARE, media="images"), files_of(originals, "images"), files_of(theirs, "images"), 1)
