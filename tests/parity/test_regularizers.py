"""FSQ and KL equal the PyTorch original on its regularizer file: codes, latents, losses, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_weights import channels_last, read_golden

from tokjax.quantizers import FSQ, KL, Codebooks, GridLosses
from tokjax.quantizers.kl import sample

ONE = ["fsq_4096", "fsq_32768", "fsq_262144", "fsq_mixed_8555", "fsq_odd_75555_gamma", "fsq_noentropy"]


@pytest.fixture(scope="module")
def regularizers(golden):
    return read_golden(golden("vidtok/unit_regularizers.npz"))


def outputs(arrays, name):
    found = {key.rpartition("/")[2]: value for key, value in arrays.items() if key.startswith(f"out:{name}/")}
    video = {key: channels_last(found[key]) for key in ("z_q", "r", "grad_st", "grad_aux", "codes_from_indices") if key in found}
    return channels_last(arrays[f"in:{name}"]), found | video


def fsq(arguments):
    losses = GridLosses(
        entropy_weight=arguments.get("entropy_loss_weight", 0.0),
        entropy_annealing_steps=arguments.get("entropy_loss_annealing_steps", 0),
        entropy_annealing_factor=arguments.get("entropy_loss_annealing_factor", 1.0),
        commitment_weight=arguments.get("commitment_loss_weight", 0.0),
        diversity_gamma=arguments.get("diversity_gamma", 1.0),
    )
    return FSQ(tuple(arguments["levels"]), losses)


def check(call, z, out):
    """`call(z, train, step)` against the golden outputs of one case."""

    @jax.jit
    def run(z):
        losses = [call(z, True, step).losses for step in (0, 700, 2000)]
        straight_through = jax.grad(lambda z: jnp.sum(call(z).latents * out["r"]))(z)
        return call(z), losses, straight_through, jax.grad(lambda z: call(z, True, 700).losses["regularization"])(z)

    result, losses, straight_through, of_loss = run(z)
    np.testing.assert_array_equal(result.indices, out["indices"])
    np.testing.assert_allclose(result.latents, out["z_q"], atol=1e-6)
    for step, found in zip((0, 700, 2000), losses, strict=True):
        np.testing.assert_allclose(found["regularization"], out[f"aux_loss_n{step}"], rtol=1e-4, atol=1e-6)
    names = {"per_sample_entropy": "per_sample_entropy", "codebook_entropy": "codebook_entropy", "commit_loss": "commitment"}
    for theirs, ours in names.items():
        if theirs in out and not (ours == "commitment" and call.losses.commitment_weight == 0):  # without a weight: not computed
            np.testing.assert_allclose(losses[0][ours], out[theirs], rtol=1e-4)
    np.testing.assert_allclose(straight_through, out["grad_st"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(of_loss, out.get("grad_aux", 0.0), rtol=1e-3, atol=2e-5)  # no golden: no loss, no gradient


class Call:
    """A quantizer, and its variables where it has some, as one function."""

    def __init__(self, quantizer, losses, variables=None):
        self.quantizer, self.losses, self.variables = quantizer, losses, variables

    def __call__(self, z, train=False, step=0):
        if self.variables is None:
            return self.quantizer(z, train=train, step=step)
        return self.quantizer.apply(self.variables, z, None, train, step)


@pytest.mark.parametrize("name", ONE)
def test_fsq(regularizers, name):
    arrays, meta = regularizers
    z, out = outputs(arrays, name)
    quantizer = fsq(meta["cases"][name])
    check(Call(quantizer, quantizer.losses), jnp.asarray(z), out)
    np.testing.assert_allclose(quantizer.indices_to_latents(out["indices"]), out["codes_from_indices"], atol=1e-6)
    np.testing.assert_allclose(quantizer.indices_to_latents(jnp.arange(64)), out["implicit_codebook_head"][:64], atol=1e-6)


def test_fsq_with_two_codebooks(regularizers):
    arrays, meta = regularizers
    z, out = outputs(arrays, "fsq_2codebooks")
    one = fsq(meta["cases"]["fsq_2codebooks"])
    quantizer = Codebooks((one, one))
    assert out["indices"].shape == (*z.shape[:4], 2)
    check(Call(quantizer, one.losses, {}), jnp.asarray(z), out)
    np.testing.assert_allclose(quantizer.apply({}, out["indices"], method="indices_to_latents"), out["z_q"], atol=1e-6)


def test_fsq_between_projections(regularizers):
    arrays, meta = regularizers
    z, out = outputs(arrays, "fsq_projected")
    one = fsq(meta["cases"]["fsq_projected"])
    weights = {key.partition("|")[2]: value for key, value in arrays.items() if key.startswith("w:fsq_projected|")}
    layers = {
        name: {"kernel": weights[f"{name}.weight"].T, "bias": weights[f"{name}.bias"]} for name in ("project_in", "project_out")
    }
    quantizer = Codebooks((one,), code_width=3)
    check(Call(quantizer, one.losses, {"params": layers}), jnp.asarray(z), out)
    latents = quantizer.apply({"params": layers}, out["indices"], method="indices_to_latents")
    np.testing.assert_allclose(latents, out["codes_from_indices"], atol=1e-6)
    np.testing.assert_allclose(latents, out["z_q"], atol=1e-6)


def test_kl(regularizers):
    arrays, _ = regularizers
    out = {key.rpartition("/")[2]: value for key, value in arrays.items() if key.startswith("out:kl/")}
    z, noise, r = (jnp.asarray(channels_last(array)) for array in (arrays["in:kl"], out["noise"], out["r"]))
    np.testing.assert_allclose(KL()(z, train=True).losses["kl"], out["kl_loss"], rtol=1e-5)
    gradient = jax.grad(lambda z: KL()(z, train=True).losses["kl"])(z)
    np.testing.assert_allclose(gradient, channels_last(out["grad_kl"]), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(sample(z, noise), channels_last(out["sample"]), rtol=1e-5, atol=1e-5)
    gradient = jax.grad(lambda z: jnp.sum(sample(z, noise) * r))(z)
    np.testing.assert_allclose(gradient, channels_last(out["grad_sample"]), rtol=1e-4, atol=1e-5)
