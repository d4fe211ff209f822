"""State that training changes without gradients: a moving-average codebook and a running mean, through steps and checkpoints."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from saved_runs import through_a_checkpoint
from training.test_step import bits, clips, make

from tokjax.quantizers.codebook import CodebookState, ema_update, nearest_codes
from tokjax.quantizers.quantized import Quantized
from tokjax.quantizers.vq import VQ
from tokjax.training.checkpoints import read

EMA_CODES = VQ(codebook_size=16, codebook_weight=0.0, ema_decay=0.8)


class RunningMean(nn.Module):
    """No quantizer: it remembers the mean of what passes, in a collection of its own, and adds it to the latents."""

    moments_per_latent = 1
    codebook_size = None

    @nn.compact
    def __call__(self, z, rng=None, train=False, step=0):
        mean = self.variable("batch_stats", "mean", lambda: jnp.zeros(()))
        seen = mean.value
        if train and self.is_mutable_collection("batch_stats"):
            mean.value = 0.75 * seen + 0.25 * jnp.mean(z)
        return Quantized(z + seen, None, {"regularization": jnp.zeros(())})


def to_values(video):
    return np.asarray(video, np.float32) / 127.5 - 1


def vectors(params, video):
    encoder = params["encoder"]
    return (to_values(video) @ encoder["kernel"] + encoder["bias"]).reshape(-1, 2)


def test_a_step_renews_the_codebook_as_its_rule_says_and_leaves_parameters_apart():
    *_, state, step = make(EMA_CODES)
    assert state.model_state.keys() == {"codebook"} and state.params.keys() == {"encoder", "decoder"}
    after, metrics = step(state, clips())
    before = CodebookState(**state.model_state["codebook"]["quantizer"])
    z = vectors(state.params, clips())
    indices = nearest_codes(z, before.embeddings)
    expected = ema_update(before, z, indices, 0.8, 0.0, None)
    for name, value in expected._asdict().items():
        np.testing.assert_allclose(after.model_state["codebook"]["quantizer"][name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(metrics["codebook_usage"], len(set(np.asarray(indices).tolist())) / 16)


def test_accumulation_carries_the_state_from_part_to_part():
    """Part n has the clips n, n + 2, ...; its loss is computed with the mean that the part before left."""
    _, _, state, step = make(RunningMean(), accumulation=2, learning_rate=1e-9)
    video, mean, losses = clips(), 0.0, []
    for part in (video[0::2], video[1::2]):
        z = vectors(state.params, part)
        kernel, bias = state.params["decoder"]["kernel"], state.params["decoder"]["bias"]
        error = np.abs((z + mean) @ kernel + bias - to_values(part).reshape(-1, 3))
        losses.append(error.sum() / (len(part) * 3))
        mean = 0.75 * mean + 0.25 * z.mean()
    after, metrics = step(state, video)
    np.testing.assert_allclose(after.model_state["batch_stats"]["quantizer"]["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(metrics["reconstruction"], np.mean(losses), rtol=1e-5)
    assert abs(mean) > 1e-3


@pytest.mark.parametrize("parts", [1, 2])
def test_a_batch_that_is_not_finite_leaves_the_state_untouched(parts):
    *_, state, step = make(EMA_CODES, accumulation=parts)
    state, _ = step(state, clips().astype(np.float32) / 127.5 - 1)
    broken = clips().astype(np.float32) / 127.5 - 1
    broken[0, 0, 0, 0, 0] = np.nan
    after, metrics = step(state, broken)
    assert not np.isfinite(metrics["loss"]) and int(after.nonfinite) == 1
    assert bits(after.model_state) == bits(state.model_state)
    after, _ = step(after, clips(1).astype(np.float32) / 127.5 - 1)
    assert bits(after.model_state) != bits(state.model_state)


def test_a_model_is_judged_with_the_average_of_its_parameters_and_its_own_state():
    model, _, state, step = make(EMA_CODES)
    for seed in range(3):
        state, _ = step(state, clips(seed))
    assert bits(state.variables) == bits({"params": state.ema, "codebook": state.model_state["codebook"]})
    again, quantized = model.apply(state.variables, to_values(clips(5)))  # nothing is mutable: a state that is renewed raises
    codes = np.asarray(state.model_state["codebook"]["quantizer"]["embeddings"])
    np.testing.assert_allclose(quantized.latents, codes[quantized.indices], atol=1e-6)
    decoder = state.ema["decoder"]
    np.testing.assert_allclose(again, codes[quantized.indices] @ decoder["kernel"] + decoder["bias"], atol=1e-5)


def test_models_without_state_have_none():
    *_, state, step = make()
    assert state.model_state == {} and step(state, clips())[0].model_state == {}


@pytest.mark.parametrize("quantizer", [EMA_CODES, RunningMean()])
def test_checkpoints_keep_it_bitwise(tmp_path, quantizer):
    *_, state, step = make(quantizer)
    state, _ = step(state, clips())
    restored = through_a_checkpoint(state, tmp_path)
    assert jax.tree.structure(restored) == jax.tree.structure(state) and bits(restored) == bits(state)
    assert bits(read(tmp_path, keys=("model_state",))[1]["model_state"]) == bits(state.model_state)
    assert bits(step(restored, clips(1))) == bits(step(state, clips(1)))


def test_a_frozen_codebook_stays():
    *_, state, step = make(EMA_CODES, freeze=("encoder", "codebook/*"))
    after, _ = step(state, clips())
    assert bits(after.model_state) == bits(state.model_state)
    assert bits(after.params["encoder"]) == bits(state.params["encoder"])
    assert bits(after.params["decoder"]) != bits(state.params["decoder"])
