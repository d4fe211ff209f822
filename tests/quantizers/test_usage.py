import jax
import numpy as np
import pytest

from tokjax.quantizers.usage import dead_codes, entropy_bits, histogram, perplexity, usage


@pytest.mark.parametrize("case", ["c256", "c4096"])
def test_equals_published_formulas(golden, case):
    data = np.load(golden("metrics/is_codebook.npz"))
    batches, size = data[f"{case}_ids"], int(data[f"{case}_K"])
    by_batch = [np.asarray(histogram(batch, size), np.int64) for batch in batches]
    counts = sum(by_batch)
    np.testing.assert_array_equal(counts, data[f"{case}_counts"])
    assert usage(counts) == pytest.approx(float(data[f"{case}_usage"]), rel=1e-12)
    assert dead_codes(counts) == np.sum(data[f"{case}_counts"] == 0)
    assert perplexity(counts) == pytest.approx(float(data[f"{case}_perplexity_global"]), rel=1e-9)
    assert entropy_bits(counts) == pytest.approx(float(data[f"{case}_entropy_bits_titok"]), rel=1e-9)
    np.testing.assert_allclose([perplexity(one) for one in by_batch], data[f"{case}_perplexity_batch"], rtol=1e-5)


def test_equal_use_of_every_code():
    counts = np.full(64, 5)
    assert usage(counts) == 1.0
    assert dead_codes(counts) == 0
    assert perplexity(counts) == pytest.approx(64, rel=1e-6)
    assert entropy_bits(counts) == pytest.approx(6, rel=1e-6)


def test_one_code_only():
    counts = np.array([0, 7, 0, 0])
    assert (usage(counts), dead_codes(counts)) == (0.25, 3)
    assert perplexity(counts) == pytest.approx(1, rel=1e-6)
    assert entropy_bits(counts) == pytest.approx(0, abs=1e-6)


def test_histogram_counts_valid_rows_and_known_codes_only():
    indices = np.random.default_rng(0).integers(-3, 13, (5, 2, 4, 4))
    valid = np.array([True, False, True, True, False])
    expected = np.zeros(10, int)
    for code in indices[valid].ravel():
        if 0 <= code < 10:
            expected[code] += 1
    counts = jax.jit(histogram, static_argnums=1)(indices, 10, valid)
    assert counts.dtype == np.int32
    np.testing.assert_array_equal(counts, expected)


def test_counts_beyond_float32_stay_exact():
    assert dead_codes(np.array([2**40 + 1, 0, 1])) == 1
    p = np.array([2**40 + 1, 1]) / (2**40 + 2)
    assert perplexity(np.array([2**40 + 1, 1])) == pytest.approx(np.exp(-(p * np.log(p + 1e-10)).sum()), rel=1e-15)


def test_nothing_counted_is_refused():
    for measure in (usage, dead_codes, perplexity, entropy_bits):
        with pytest.raises(ValueError, match="no code has been counted"):
            measure(np.zeros(8, int))
