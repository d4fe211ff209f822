"""Fréchet distances, Inception Scores and codebook measures against the exact values and the originals' own."""

import numpy as np
import pytest

from tokjax.evaluation.frechet import Moments, frechet_distance, gaussian_distance
from tokjax.evaluation.inception_score import InceptionScore, equal_parts, parts_of
from tokjax.quantizers import usage


def required(data, name):
    """Whether the case is in the file; the compact selection holds some only."""
    if name not in data:
        pytest.skip(f"{name} is not in this selection of golden files")


def moments(features, batch=7):
    found = Moments()
    for start in range(0, len(features), batch):
        found.add(features[start : start + batch])
    return found


@pytest.mark.parametrize("case", ["g_full16", "g_def48"])
def test_gaussians(golden, case):
    data = np.load(golden("metrics/frechet.npz"))
    required(data, f"{case}_mu1")
    found = gaussian_distance(*(data[f"{case}_{name}"].astype(np.float64) for name in ("mu1", "sigma1", "mu2", "sigma2")))
    assert found == pytest.approx(float(data[f"{case}_exact"]), rel=1e-6)


@pytest.mark.parametrize("case", ["f_full", "f_def", "f_same", "f_recon400", "f_fid2048"])
def test_feature_sets(golden, case):
    """Also of fewer samples than dimensions, of equal sets, and of sets that hardly differ."""
    data = np.load(golden("metrics/frechet.npz"))
    required(data, f"{case}_a")
    a, b = moments(data[f"{case}_a"], 64), moments(data[f"{case}_b"], 64)
    for ddof in (0, 1):
        exact = float(data[f"{case}_exact_ddof{ddof}"])
        assert frechet_distance(a, b, ddof) == pytest.approx(exact, rel=1e-6, abs=1e-6)


def test_streamed_moments(golden):
    data = np.load(golden("metrics/frechet.npz"))
    for case in ("f_full", "f_def"):
        found = moments(data[f"{case}_a"])
        np.testing.assert_allclose(found.mean, data[f"{case}_stream_mean_a"], rtol=0, atol=1e-9)
        assert np.trace(found.covariance(0)) == pytest.approx(float(data[f"{case}_stream_trace_cov_a"]), rel=1e-9)


def test_inception_scores(golden):
    data = np.load(golden("metrics/is_codebook.npz"))
    required(data, "is_logits")
    logits = data["is_logits"]

    def score(parts):
        found = InceptionScore(parts)
        for start in range(0, len(logits), 50):
            found.add(logits[start : start + 50])
        return found.result()

    n = len(logits)
    for name, parts in (
        ("is_tfid_s10", equal_parts(n)),
        ("is_tfid_s10_shuffle2020", equal_parts(n, seed=2020)),
        ("is_tfid_s1", equal_parts(n, 1)),
    ):
        np.testing.assert_allclose(score(parts), data[name], rtol=1e-9, atol=1e-12)
    for size in data["is_adm_split_sizes"]:
        assert score(parts_of(n, int(size)))[0] == pytest.approx(float(data[f"is_adm_split{size}"]), rel=1e-9)


@pytest.mark.parametrize("case", ["c256", "c4096"])
def test_codebook_measures(golden, case):
    data = np.load(golden("metrics/is_codebook.npz"))
    ids, size = data[f"{case}_ids"], int(data[f"{case}_K"])
    counts = np.asarray(sum(np.asarray(usage.histogram(batch[None], size)).astype(np.int64) for batch in ids))
    np.testing.assert_array_equal(counts, data[f"{case}_counts"])
    assert usage.usage(counts) == pytest.approx(float(data[f"{case}_usage"]), rel=1e-9)
    assert usage.perplexity(counts) == pytest.approx(float(data[f"{case}_perplexity_global"]), rel=1e-9)
    assert usage.entropy_bits(counts) == pytest.approx(float(data[f"{case}_entropy_bits_titok"]), rel=1e-9)
    by_batch = [
        float(usage.batch_statistics(batch[None, None, None].reshape(1, 1, 1, -1), size)["codebook_perplexity"]) for batch in ids
    ]
    np.testing.assert_allclose(by_batch, data[f"{case}_perplexity_batch"], rtol=2e-5)
