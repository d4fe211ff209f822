"""A model judged by a protocol: what the numbers are, what is on their label, what is kept in files."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from simple_networks import simple_features, streams_on_four_devices, use_simple_networks
from tiny_tokenizer import tiny_tokenizer

from tokjax.data.decode import read_image, write_image, write_video
from tokjax.evaluation.distributions import RULES
from tokjax.evaluation.frechet import Moments, frechet_distance
from tokjax.evaluation.kept_scores import StatisticsError
from tokjax.evaluation.protocol_run import Setup, evaluate_model
from tokjax.evaluation.protocols import Protocol
from tokjax.models.mesh import make_mesh

ROOT = Path(__file__).parents[2]
IMAGES = 6


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir(), (folder / "videos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        write_image(folder / "images" / f"{number}.png", smooth(rng))
    for number in range(2):
        write_video(folder / "videos" / f"{number}.mp4", [smooth(rng) for _ in range(5)], 10)
    return folder


def smooth(rng):
    return np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((4, 4, 1))).astype(np.uint8)


def setup(data, place, weights, **changes):
    protocol = Protocol("test", "images", ("psnr", "ssim", "fid_torch"), resolution=16, samples=10)
    protocol = dataclasses.replace(protocol, **changes)
    return Setup(protocol, {"frames": 1}, weights, data, place, place / "cache", 4)


def run(one, progress=None):
    return evaluate_model(one, tiny_tokenizer("fsq"), 7, make_mesh({"data": -1, "fsdp": 1, "context": 1}), progress)


def reconstructed(images):
    return tiny_tokenizer("fsq").reconstruct((images[:, None] / 127.5 - 1).astype(np.float32))


def test_numbers_and_label(tmp_path, data, monkeypatch):
    result, pictures = run(setup(data, tmp_path, use_simple_networks(monkeypatch)))
    images = np.stack([read_image(data / "images" / f"{i}.png")[0] for i in range(IMAGES)])
    again = np.clip(reconstructed(images).astype(np.float64), -1, 1)
    error = np.square((again[:, 0] + 1) / 2 - images / 255).mean((1, 2, 3))
    one = result["streams"]["images"]
    assert one["psnr"] == pytest.approx(np.mean(-10 * np.log10(error + 1e-8)), abs=1e-4)
    sets = [Moments(), Moments()]
    for moments, levels in zip(sets, (np.floor((again + 1) / 2 * 255), images[:, None].astype(np.float64)), strict=True):
        moments.add(np.asarray(simple_features(RULES["fid_torch"], np.float32(0.1), levels)[0]))
    assert one["fid_torch"]["value"] == pytest.approx(frechet_distance(*sets), rel=1e-3)
    assert one["fid_torch"]["samples"] == one["fid_torch"]["reference_samples"] == one["clips"] == IMAGES
    names = "\n".join(f"{i}.png" for i in range(IMAGES))
    assert one["sample_ids"] == hashlib.sha256(names.encode()).hexdigest()
    assert result["warnings"] == [
        "images: 6 samples, fewer than the 10 of test: not its numbers",
        "fid_torch: over 6 samples: below 2,048 the value depends strongly on their number",
    ]
    assert result["protocol"]["preset"] == "test" and result["protocol"]["overrides"] == {"frames": 1}
    assert result["protocol"]["enough_samples"] is False and result["protocol"]["resolution"] == 16
    assert result["networks"] == {"inception": {"digest": "digest of inception", "sources": {}}}
    assert result["data"]["files"] == IMAGES and result["hardware"]["wall_seconds"] > 0 and result["model"]["step"] == 7
    cost = result["cost"]
    assert cost["bits_per_pixel"] == pytest.approx(8 * 8 * np.log2(20) / (16 * 16))
    assert cost["compression_ratio"] == pytest.approx(24 / cost["bits_per_pixel"]) and cost["flops"] > 0
    assert cost["frames_per_second"] > 0
    assert {picture.note.split(",")[0] for picture in pictures} == {"best", "worst", "near the median"}
    assert json.loads(json.dumps(result))["streams"]["images"]["codebook"]["codes_counted"] == IMAGES * 64
    assert not (tmp_path / "unfinished.npz").exists()


def test_statistics_of_originals_are_taken_once(tmp_path, data, monkeypatch):
    calls = []

    def counted(rule, params, levels):
        calls.append(len(levels))
        return simple_features(rule, params, levels)

    weights = use_simple_networks(monkeypatch)
    monkeypatch.setattr("tokjax.evaluation.judge.features", counted)
    first, _ = run(setup(data, tmp_path, weights))
    before = len(calls)
    second, _ = run(setup(data, tmp_path, weights))
    assert len(calls) - before == before // 2
    assert second["streams"]["images"]["fid_torch"] == first["streams"]["images"]["fid_torch"]
    (kept,) = (tmp_path / "cache").iterdir()
    run(setup(data, tmp_path, weights, half_range=True))
    other = next(path for path in (tmp_path / "cache").iterdir() if path != kept)
    os.replace(other, kept)
    with pytest.raises(StatisticsError, match="holds the statistics of another evaluation: its protocol is"):
        run(setup(data, tmp_path, weights))


def test_an_interrupted_evaluation_goes_on(tmp_path, data, monkeypatch):
    weights = use_simple_networks(monkeypatch)
    metrics = ("psnr", "fid_tf1", "inception_score")
    whole, shown = run(setup(data, tmp_path / "whole", weights, metrics=metrics))
    monkeypatch.setattr("tokjax.evaluation.kept_scores.SECONDS_BETWEEN_SAVES", -1.0)

    def interrupt(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(setup(data, tmp_path / "two", weights, metrics=metrics), interrupt)
    assert (tmp_path / "two" / "unfinished.npz").exists()
    done = []
    result, pictures = run(setup(data, tmp_path / "two", weights, metrics=metrics), done.append)
    assert done == [IMAGES]  # one batch was left
    assert result["streams"] == whole["streams"] and result["codebook"] == whole["codebook"]
    assert [one.name for one in pictures] == [one.name for one in shown]
    with pytest.raises(KeyboardInterrupt):
        run(setup(data, tmp_path / "two", weights, metrics=metrics), interrupt)
    again, _ = run(setup(data, tmp_path / "two", weights, metrics=("psnr",)))  # another evaluation begins anew
    assert again["streams"]["images"].keys() & {"fid_tf1", "psnr"} == {"psnr"}


@pytest.mark.slow
def test_whole_videos_are_cut_into_clips(tmp_path, data, monkeypatch):
    weights = use_simple_networks(monkeypatch)
    changes = {"media": "videos", "frames": 2, "clips": "all", "metrics": ("psnr", "flicker"), "samples": 0}
    result, _ = run(setup(data, tmp_path, weights, **changes))
    one = result["streams"]["videos"]
    assert (one["clips"], one["frames"], len(one["psnr_per_frame"])) == (6, 12, 2)
    assert one["flicker"] > 0 and result["warnings"] == []
    result, _ = run(setup(data, tmp_path, weights, **changes | {"frames": 0}))
    assert (result["streams"]["videos"]["clips"], result["streams"]["videos"]["frames"]) == (2, 10)


@pytest.mark.slow
def test_four_devices_give_the_numbers_of_one(tmp_path, data, monkeypatch):
    four = streams_on_four_devices("test_protocol_run", "setup", data, tmp_path / "four")["images"]
    one = run(setup(data, tmp_path / "one", use_simple_networks(monkeypatch)))[0]["streams"]["images"]
    assert four["psnr"] == pytest.approx(one["psnr"], rel=1e-6) and four["ssim"] == pytest.approx(one["ssim"], rel=1e-6)
    assert four["fid_torch"]["value"] == pytest.approx(one["fid_torch"]["value"], rel=1e-6)
    assert four["codebook"] == one["codebook"] and four["sample_ids"] == one["sample_ids"]
