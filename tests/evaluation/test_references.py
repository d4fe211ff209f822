"""References as others publish them: moments, with or without images beside them; and other samples."""

import json

import numpy as np
import pytest
from simple_networks import simple_features, use_simple_networks
from test_generated_run import blocks, expected_features, run, setup
from test_manifold import brute_force

from tokjax.data.decode import write_image
from tokjax.data.sources import DataError
from tokjax.evaluation.distributions import RULES
from tokjax.evaluation.frechet import Moments, frechet_distance, gaussian_distance
from tokjax.evaluation.kept_scores import StatisticsError

IMAGES = 11
ALONE = ("fid_tf1",)


@pytest.fixture
def data(tmp_path):
    """Samples, and a file as ADM's: moments of one set, and images of another."""
    rng = np.random.default_rng(0)
    (tmp_path / "samples").mkdir()
    for number in range(6):
        write_image(tmp_path / "samples" / f"{number}.png", blocks(rng))
    images = np.stack([blocks(rng) for _ in range(IMAGES)])
    features = np.random.default_rng(1).normal(10, 3, (40, 12))
    np.savez_compressed(tmp_path / "adm.npz", mu=features.mean(0), sigma=np.cov(features.T), mu_s=np.zeros(3), arr_0=images)
    np.savez(tmp_path / "moments.npz", mu=features.mean(0), sigma=np.cov(features.T))
    np.savez(tmp_path / "images.npz", arr_0=images)
    return tmp_path


def features_of(images):
    found = simple_features(RULES["fid_tf1"], np.float32(0.1), images[:, None].astype(np.float32))[0]
    return np.asarray(found, np.float64)


def moments(features):
    found = Moments()
    found.add(features)
    return found


def test_distances_are_from_the_moments_and_the_rest_from_the_images(tmp_path, data, monkeypatch):
    weights = use_simple_networks(monkeypatch)
    result, _ = run(setup(data, tmp_path, weights, "adm.npz"), data)
    one, file = result["streams"]["images"], np.load(data / "adm.npz")
    fake = expected_features(data / "samples")[0]
    own = moments(fake)
    expected = gaussian_distance(own.mean, own.covariance(), file["mu"], file["sigma"])
    assert one["fid_tf1"]["value"] == pytest.approx(expected, rel=1e-6) and one["fid_tf1"]["reference_samples"] is None
    real = features_of(file["arr_0"])[[i * IMAGES // 9 for i in range(9)]]
    assert (one["precision"]["value"], one["recall"]["value"]) == pytest.approx(brute_force(real, fake, 3))
    assert any("does not say by what rule and over how many" in text for text in result["warnings"])
    done = []
    again, _ = run(setup(data, tmp_path, weights, "adm.npz"), data, done.append)
    assert again["streams"] == result["streams"] and done[-1] == 6  # the features of its images are kept


def test_moments_alone_and_images_alone(tmp_path, data, monkeypatch):
    weights = use_simple_networks(monkeypatch)
    with_images, _ = run(setup(data, tmp_path, weights, "adm.npz", metrics=ALONE), data)
    alone, _ = run(setup(data, tmp_path, weights, "moments.npz", metrics=ALONE), data)
    assert alone["streams"] == with_images["streams"] and alone["protocol"]["enough_samples"] is False
    images, _ = run(setup(data, tmp_path, weights, "images.npz", metrics=ALONE), data)
    real = moments(features_of(np.load(data / "images.npz")["arr_0"]))
    expected = frechet_distance(moments(expected_features(data / "samples")[0]), real)
    assert images["streams"]["images"]["fid_tf1"]["value"] == pytest.approx(expected, rel=1e-6)
    assert images["data"]["files"] == images["streams"]["images"]["fid_tf1"]["reference_samples"] == IMAGES


def test_other_samples_as_the_reference(tmp_path, data, monkeypatch):
    """Only those that the list names: no grid."""
    weights = use_simple_networks(monkeypatch)
    (data / "samples" / "samples.json").write_text(json.dumps({"samples": [{"file": f"{i}.png"} for i in range(5)]}))
    result, _ = run(setup(data, tmp_path, weights, "samples", metrics=ALONE), data)
    assert result["streams"]["images"]["fid_tf1"]["value"] == pytest.approx(0, abs=1e-6)
    assert result["data"]["files"] == result["streams"]["images"]["clips"] == 5


def test_what_is_refused(tmp_path, data, monkeypatch):
    weights = use_simple_networks(monkeypatch)

    def refused(kind, message, reference, **changes):
        with pytest.raises(kind, match=message):
            run(setup(data, tmp_path, weights, reference, **changes), data)

    refused(StatisticsError, r"moments without images, .*leave the two out with --metrics fid_tf1,inception_score", "moments.npz")
    both = ("fid_tf1", "fid_torch")
    refused(StatisticsError, "the moments of one rule; name one of fid_tf1, fid_torch with --metrics", "adm.npz", metrics=both)
    np.savez(data / "odd.npz", mu=np.zeros(3), sigma=np.zeros((4, 4)))
    refused(DataError, r"odd.npz cannot be read: its mu \(3,\) and sigma \(4, 4\)", "odd.npz", metrics=ALONE)
    np.savez(data / "width.npz", mu=np.zeros(3), sigma=np.eye(3))
    refused(ValueError, "one is of another network", "width.npz", metrics=ALONE)
    np.savez(data / "floats.npz", arr_0=np.zeros((2, 16, 16, 3)))
    refused(DataError, r"its arr_0 is float64 \(2, 16, 16, 3\), where images uint8", "floats.npz")
    np.savez(data / "none.npz", arr_0=np.zeros((0, 16, 16, 3), np.uint8))
    refused(DataError, r"its arr_0 is uint8 \(0, 16, 16, 3\), where images uint8", "none.npz")
    np.savez(data / "else.npz", x=np.zeros(3))
    refused(StatisticsError, "else.npz is no file of statistics that tokjax wrote", "else.npz")
    content = bytearray((data / "images.npz").read_bytes())
    content[2000] ^= 255
    (data / "images.npz").write_bytes(content)
    refused(DataError, "images.npz is damaged: Bad CRC-32", "images.npz")
