"""Generated samples judged by a protocol: what the numbers are, what is kept in files, what a reader is told."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from simple_networks import simple_features, streams_on_four_devices, use_simple_networks
from test_manifold import brute_force

from tokjax.data.decode import write_image
from tokjax.data.sources import DataError
from tokjax.evaluation.distributions import RULES
from tokjax.evaluation.frechet import Moments, frechet_distance
from tokjax.evaluation.generated_run import evaluate_generated
from tokjax.evaluation.inception_score import InceptionScore, equal_parts
from tokjax.evaluation.kept_scores import StatisticsError
from tokjax.evaluation.protocol_run import Setup
from tokjax.evaluation.protocols import PROTOCOLS
from tokjax.models.mesh import make_mesh

ROOT = Path(__file__).parents[2]
SAMPLES, REFERENCES, MANIFOLD = 14, 21, 9


def blocks(rng, height=4):
    return np.kron(rng.integers(0, 256, (height, 4, 3)), np.ones((4, 4, 1))).astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Samples and references, images of 16 x 16, and longer videos of both."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name, count in (("samples", SAMPLES), ("references", REFERENCES)):
        (folder / name).mkdir(), (folder / f"{name}_of_video").mkdir()
        for number in range(count):
            write_image(folder / name / f"{number:02d}.png", blocks(rng))
        for number in range(3):
            np.save(folder / f"{name}_of_video" / f"{number}.npy", np.stack([blocks(rng) for _ in range(12)]))
    return folder


def setup(data, place, weights, reference="references", preset="adm-50k", **changes):
    changes = {"resolution": 16, "samples": 100, "manifold": MANIFOLD} | changes
    protocol = dataclasses.replace(PROTOCOLS[preset], **changes)
    return Setup(protocol, {"resolution": 16}, weights, data / reference, place, place / "cache", 4)


def run(one, data, progress=None, samples="samples"):
    return evaluate_generated(one, data / samples, make_mesh({"data": -1, "fsdp": 1, "context": 1}), progress)


def expected_features(folder):
    from PIL import Image

    images = np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])
    found = simple_features(RULES["fid_tf1"], np.float32(0.1), images[:, None].astype(np.float32))
    return [np.asarray(one, np.float64) for one in found]


def test_numbers_and_label(tmp_path, data, monkeypatch):
    done = []
    result, shown = run(setup(data, tmp_path, use_simple_networks(monkeypatch)), data, done.append)
    (fake, logits), (real, _) = expected_features(data / "samples"), expected_features(data / "references")
    one, sets = result["streams"]["images"], [Moments(), Moments()]
    sets[0].add(fake), sets[1].add(real)
    assert one["fid_tf1"]["value"] == pytest.approx(frechet_distance(*sets), rel=1e-6)
    assert (one["fid_tf1"]["samples"], one["fid_tf1"]["reference_samples"]) == (SAMPLES, REFERENCES)
    score = InceptionScore(equal_parts(SAMPLES))
    score.add(logits)
    assert one["inception_score"]["value"] == pytest.approx(score.result()[0], rel=1e-6)
    few = real[[i * REFERENCES // MANIFOLD for i in range(MANIFOLD)]]
    precision, recall = brute_force(few, fake, 3)
    assert (one["precision"]["value"], one["recall"]["value"]) == (pytest.approx(precision), pytest.approx(recall))
    assert 0 < precision < 1 and 0 < recall < 1 and one["precision"]["reference_samples"] == MANIFOLD
    assert result["warnings"] == [
        f"images: {SAMPLES} samples, fewer than the 100 of adm-50k: not its numbers",
        f"fid_tf1: over {SAMPLES} samples: below 2,048 the value depends strongly on their number",
    ]
    assert result["protocol"]["preset"] == "adm-50k" and result["protocol"]["enough_samples"] is False
    assert result["networks"] == {"inception": {"digest": "digest of inception", "sources": {}}}
    assert result["data"]["files"] == REFERENCES and result["model"]["name"] == "samples" and result["versions"]["jax"]
    assert done == [4, 8, 12, 16, 20, 21, 25, 29, 33, 35] and json.loads(json.dumps(result))["streams"] == result["streams"]
    assert len(shown) == 8 and shown["00.png"].shape == (1, 16, 16, 3)
    assert sorted(path.name[:7] for path in tmp_path.rglob("*.npz")) == ["fid_tf1"]


def test_references_are_judged_once_and_may_be_named_as_a_file(tmp_path, data, monkeypatch):
    weights = use_simple_networks(monkeypatch)
    first, _ = run(setup(data, tmp_path, weights), data)
    done = []
    second, _ = run(setup(data, tmp_path, weights), data, done.append)
    assert done[-1] == SAMPLES and second["streams"] == first["streams"]
    (kept,) = (tmp_path / "cache").iterdir()
    third, _ = run(setup(data, tmp_path, weights, reference=kept), data)
    assert third["streams"] == first["streams"] and third["data"]["fingerprint"] == first["data"]["fingerprint"]


def test_files_of_references_that_do_not_fit(tmp_path, data, monkeypatch):
    weights = use_simple_networks(monkeypatch)
    run(setup(data, tmp_path, weights, metrics=("fid_tf1",)), data)
    (kept,) = (tmp_path / "cache").iterdir()
    alone, _ = run(setup(data, tmp_path, weights, reference=kept, metrics=("fid_tf1", "inception_score")), data)
    assert alone["streams"]["images"]["fid_tf1"]["reference_samples"] == REFERENCES

    def refused(message, weights=weights, **changes):
        with pytest.raises(StatisticsError, match=message):
            run(setup(data, tmp_path, weights, reference=kept, **changes), data)

    refused(r"keeps no features, or others, for precision and recall; .*--metrics fid_tf1,inception_score")
    refused(r"the reference of another protocol \(adm-50k\) than adm-50k as it is set here", resize="stretch")
    refused("is of fid_tf1 alone, and fid_torch needs more", metrics=("fid_torch", "fid_tf1"))
    weights["inception"].about["digest"] = "another"
    refused("was made with other weights of inception", metrics=("fid_tf1",))
    weights["inception"].about["digest"] = "digest of inception"
    whole, _ = run(setup(data, tmp_path, weights), data)  # the folder's kept file is completed
    again, _ = run(setup(data, tmp_path, weights, reference=kept), data)
    assert again["streams"] == whole["streams"]
    kept.write_bytes(kept.read_bytes()[:100])
    refused("is no file of statistics that tokjax wrote, or a damaged one")


@pytest.mark.parametrize("batches", [2, 8])
def test_an_interrupted_evaluation_goes_on(tmp_path, data, monkeypatch, batches):
    """Among the references, and among the samples."""
    weights = use_simple_networks(monkeypatch)
    whole, _ = run(setup(data, tmp_path / "whole", weights), data)
    monkeypatch.setattr("tokjax.evaluation.kept_scores.SECONDS_BETWEEN_SAVES", -1.0)
    seen = []

    def interrupt(done):
        seen.append(done)
        if len(seen) == batches:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(setup(data, tmp_path / "two", weights), data, interrupt)
    done = []
    result, _ = run(setup(data, tmp_path / "two", weights), data, done.append)
    assert len(done) == 10 - batches
    assert result["streams"] == whole["streams"] and result["warnings"] == whole["warnings"]
    assert not list((tmp_path / "two").glob("*.npz"))


def test_more_samples_than_the_protocol_has(tmp_path, data, monkeypatch):
    weights = use_simple_networks(monkeypatch)
    result, _ = run(setup(data, tmp_path, weights, samples=7, metrics=("fid_tf1",)), data)
    fake, real = Moments(), Moments()
    fake.add(expected_features(data / "samples")[0][::2]), real.add(expected_features(data / "references")[0])
    assert result["streams"]["images"]["fid_tf1"]["value"] == pytest.approx(frechet_distance(fake, real), rel=1e-6)
    assert result["warnings"][-1] == "7 of the 14 samples were taken, evenly spread in the order of names"
    assert result["protocol"]["enough_samples"] is True


def test_too_few_for_neighbours(tmp_path, data, monkeypatch):
    result, _ = run(setup(data, tmp_path, use_simple_networks(monkeypatch), samples=3, metrics=("precision",)), data)
    assert result["streams"]["images"]["precision"]["value"] is None and "recall" not in result["streams"]["images"]
    assert "precision: it needs more than 3 samples and references, and there are 3 and 9" in result["warnings"]


def test_the_inception_score_needs_no_references(tmp_path, data, monkeypatch):
    done = []
    one = setup(data, tmp_path, use_simple_networks(monkeypatch), metrics=("inception_score",))
    result, _ = run(one, data, done.append)
    assert done == [4, 8, 12, 14] and result["streams"]["images"]["inception_score"]["samples"] == SAMPLES


def test_broken_references_are_named_and_nothing_is_kept(tmp_path, data, monkeypatch):
    weights = use_simple_networks(monkeypatch)
    (tmp_path / "mixed").mkdir()
    write_image(tmp_path / "mixed" / "a.png", blocks(np.random.default_rng(1)))
    write_image(tmp_path / "mixed" / "b.png", blocks(np.random.default_rng(2)))
    (tmp_path / "mixed" / "c.png").write_bytes(b"no image")
    result, _ = run(setup(data, tmp_path, weights, reference=tmp_path / "mixed", metrics=("fid_tf1",)), data)
    assert any(text.startswith("c.png was left out: ") for text in result["warnings"])
    assert result["streams"]["images"]["fid_tf1"]["reference_samples"] == 2 and not (tmp_path / "cache").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no images below .*empty; looked for"):
        run(setup(data, tmp_path, weights, reference=tmp_path / "empty", metrics=("fid_tf1",)), data)


def test_videos(tmp_path, data, monkeypatch):
    changes = {"preset": "ucf-2048", "reference": "references_of_video", "frames": 9, "samples": 2048}
    one = setup(data, tmp_path, use_simple_networks(monkeypatch), **changes)
    result, shown = run(one, data, samples="samples_of_video")
    sets = [Moments(), Moments()]
    for moments, side in zip(sets, ("samples", "references"), strict=True):
        clips = np.stack([np.load(path)[1:10] for path in sorted((data / f"{side}_of_video").iterdir())])
        moments.add(np.asarray(simple_features(RULES["fvd_videogpt"], np.float32(0.1), clips.astype(np.float32))[0]))
    stream = result["streams"]["videos"]
    assert stream["fvd_videogpt"]["value"] == pytest.approx(frechet_distance(*sets), rel=1e-5)
    assert (stream["clips"], stream["frames"], shown["0.npy"].shape) == (3, 27, (9, 16, 16, 3))
    assert "references: 3 samples, fewer than the 2,048 of ucf-2048: not its numbers" in result["warnings"]


@pytest.mark.slow
def test_four_devices_give_the_numbers_of_one(tmp_path, data, monkeypatch):
    four = streams_on_four_devices("test_generated_run", "setup, data", data, tmp_path / "four")["images"]
    one = run(setup(data, tmp_path / "one", use_simple_networks(monkeypatch)), data)[0]["streams"]["images"]
    for metric in PROTOCOLS["adm-50k"].metrics:
        assert four[metric]["value"] == pytest.approx(one[metric]["value"], rel=1e-6), metric
    assert four["sample_ids"] == one["sample_ids"]
