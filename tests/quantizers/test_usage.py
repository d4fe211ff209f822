import jax
import numpy as np
import pytest

from tokjax.quantizers.usage import batch_statistics, dead_codes, entropy_bits, histogram, perplexity, usage


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


@pytest.mark.parametrize("size", [40, 2**18, 2**18 + 1, 2**30])
def test_statistics_of_one_batch(size):
    indices = np.random.default_rng(0).integers(0, 40, (3, 2, 4, 4))
    indices[0] = 7
    counts = np.bincount(indices.ravel())
    found = jax.jit(batch_statistics, static_argnums=1)(indices, size)
    assert all(value.shape == () and value.dtype == np.float32 for value in found.values())
    used = np.count_nonzero(counts)
    assert float(found["codebook_usage"]) == pytest.approx(used / size)
    assert float(found["dead_codes"]) == pytest.approx(size - used)
    assert float(found["codebook_perplexity"]) == pytest.approx(perplexity(counts), rel=1e-5)


def test_statistics_of_several_codebooks_are_means():
    indices = np.random.default_rng(0).integers(0, 9, (2, 1, 4, 4, 3))
    found = batch_statistics(indices, 9)
    for name, value in found.items():
        assert float(value) == pytest.approx(np.mean([batch_statistics(indices[..., i], 9)[name] for i in range(3)]))


def test_statistics_of_a_codebook_of_any_size_take_the_memory_of_the_batch():
    memory = jax.jit(batch_statistics, static_argnums=1).lower(jax.ShapeDtypeStruct((10240,), np.int32), 2**30).compile()
    assert memory.memory_analysis().temp_size_in_bytes < 1e6
