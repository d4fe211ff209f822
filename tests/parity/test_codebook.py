"""The moving-average codebook equals the PyTorch original over training calls, with restarts and taken from data too."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_weights import channels_last, read_golden

from tokjax.quantizers import VQ
from tokjax.quantizers.codebook import CodebookState, ema_update, nearest_codes, start, take_from

NAMES = ["codebook_ema", "codebook_ema_restart", "codebook_ema_init_tile"]


def initial_state(meta):
    """The seeded buffers of the file; the usage is not one of them, its first batch sets it."""
    stream, crc, weights = np.random.RandomState(meta["weight_seed"]), 0, {}
    for key, shape, rule, scale, shift in meta["weights"]:
        n = stream.standard_normal(int(np.prod(shape))).reshape(shape)
        weights[key] = ((np.abs(n) if rule == "absnormal" else n) * scale + shift).astype(np.float32)
        crc = zlib.crc32(weights[key].tobytes(), crc)
    assert crc == meta["weights_crc32"]
    zeros = jnp.zeros(len(weights["N"]))
    return CodebookState(weights["embeddings"], weights["N"], weights["z_avg"], zeros, jnp.asarray(True))


@pytest.fixture(scope="module", params=NAMES)
def case(request, golden):
    arrays, meta = read_golden(golden(f"omnitokenizer/{request.param}.npz"))
    draws = {name: [arrays[key] for key in sorted(arrays) if key.endswith(name)] for name in ("randperm", "randn_like")}
    return arrays, meta, draws


def steps(case):
    """For each training call: vectors z, the state it looks up in, its golden outputs, the state it leaves."""
    arrays, meta, draws = case
    config, state = meta["config"], initial_state(meta)
    permutations, noises = iter(draws["randperm"]), iter(draws["randn_like"])
    for number in range(config["steps"]):
        z = jnp.asarray(channels_last(arrays[f"in/z{number}"]))
        vectors, size = z.reshape(-1, z.shape[-1]), config["n_codes"]
        if number == 0 and config["need_init"]:
            state = start(take_from(vectors, size, next(permutations), next(noises)), initialized=True)
        out = {key.partition("_")[2]: value for key, value in arrays.items() if key.startswith(f"out/s{number}_")}
        candidates = take_from(vectors, size, next(permutations), next(noises, None))
        threshold = 0.0 if config["no_random_restart"] else config["restart_thres"]
        after = ema_update(state, vectors, nearest_codes(vectors, state.embeddings), 0.99, threshold, candidates)
        yield z, state, out, after
        state = after


def test_the_state_after_each_training_call(case):
    for _, _, out, after in steps(case):
        np.testing.assert_allclose(after.counts, out["N"], rtol=1e-6)
        np.testing.assert_allclose(after.sums, out["z_avg"], atol=1e-6)
        np.testing.assert_allclose(after.embeddings, out["codebook"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(after.usage, out["codebook_usage"], atol=1e-7)
        assert np.mean(np.asarray(after.usage) > 1 / len(after.usage)) == pytest.approx(float(out["avg_usage"]))


def test_the_module_gives_codes_losses_and_gradients_and_leaves_that_state(case):
    arrays, meta, _ = case
    cotangent = channels_last(arrays["in/cot"])
    module = VQ(meta["config"]["n_codes"], ema_decay=0.99)
    for z, state, out, after in steps(case):
        variables = {"codebook": state._asdict()}

        def loss(z, variables=variables):
            result, changed = module.apply(variables, z, None, True, mutable=["codebook"])
            return jnp.sum(result.latents * cotangent) + result.losses["regularization"], (result, changed["codebook"])

        gradient, (result, changed) = jax.grad(loss, has_aux=True)(z)
        np.testing.assert_array_equal(result.indices, out["indices"])
        np.testing.assert_allclose(result.latents, channels_last(out["embeddings_st"]), atol=1e-6)
        np.testing.assert_allclose(result.losses["regularization"], out["commitment_loss"], rtol=1e-5)
        np.testing.assert_allclose(gradient, channels_last(out["dz"]), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            module.apply(variables, result.indices, method="indices_to_latents"), result.latents, atol=1e-6
        )
        if meta["config"]["no_random_restart"]:  # else the module draws other candidates
            np.testing.assert_allclose(changed["embeddings"], after.embeddings, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(changed["counts"], out["N"], rtol=1e-6)
