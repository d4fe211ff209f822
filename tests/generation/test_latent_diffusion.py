"""Diffusion beside the golden files: closed forms of its steps, flow matching, scaling, and samples on their own."""

import jax.numpy as jnp
import numpy as np
import pytest
from tiny_generators import keys, model_of

from tokjax.generation.diffusion_process import flow_losses, noise_losses, noised
from tokjax.generation.latent_sampling import Denoising, denoised, guided, sample_latents, straight
from tokjax.generation.noise_schedule import make_schedule, respaced


def test_ddim_with_the_true_noise_comes_back_to_the_latents():
    schedule, rng = make_schedule("ddim10"), np.random.default_rng(0)
    latents, noise = (jnp.asarray(rng.normal(size=(2, 1, 2, 2, 3)), jnp.float32) for _ in range(2))
    x = noised(schedule, latents, jnp.array([9, 9]), noise)
    back = denoised(schedule, lambda x, level: noise, x, "ddim", lambda number: noise)
    np.testing.assert_allclose(back[-1], latents, atol=1e-3)


def test_a_perfect_guess_has_no_error_and_its_bound_is_least():
    schedule, rng = make_schedule(), np.random.default_rng(0)
    latents, noise = (jnp.asarray(rng.normal(size=(3, 1, 2, 2, 2)), jnp.float32) for _ in range(2))
    step = jnp.array([1, 500, 999])

    def bound(between):
        return noise_losses(schedule, lambda x, level: jnp.concatenate([noise, between], axis=-1), latents, step, noise)

    least = bound(jnp.full_like(noise, -1.0))  # the true variance: the divergence is 0
    np.testing.assert_allclose(least["mse"], 0, atol=1e-12)
    np.testing.assert_allclose(least["vb"], 0, atol=1e-5)
    assert bound(jnp.full_like(noise, 1.0))["vb"][0] > 0.1  # at the first steps the largest variance is far from the true one


def test_flow_matching_goes_straight():
    rng = np.random.default_rng(0)
    latents, noise = (jnp.asarray(rng.normal(size=(2, 1, 2, 2, 3)), jnp.float32) for _ in range(2))
    np.testing.assert_allclose(straight(lambda x, level: noise - latents, noise, 4), latents, atol=1e-5)
    seen = []

    def network(x, level):
        seen.extend([x, level])
        return noise - latents

    np.testing.assert_allclose(flow_losses(network, latents, jnp.array([0.25, 1.0]), noise)["mse"], 0)
    np.testing.assert_allclose(seen[0][0], 0.75 * latents[0] + 0.25 * noise[0], rtol=1e-6)
    np.testing.assert_allclose(seen[1], [250.0, 1000.0])


@pytest.mark.parametrize("options", [{}, {"prediction": "flow", "learned_range": False, "scaling": 0.0}])
def test_a_sample_depends_on_its_own_key_and_label_alone(options):
    model, variables = model_of("diffusion", classes=3, **options)
    how = Denoising(steps="4", guidance=2.0)
    labels = jnp.array([0, 1, -1])
    together = sample_latents(model, variables, labels, keys(3), how)
    alone = sample_latents(model, variables, labels[1:2], keys(3)[1:2], how)
    assert together.shape == (3, 2, 4, 4, 2)
    np.testing.assert_allclose(together[1], alone[0], atol=1e-3, rtol=1e-3)
    assert jnp.abs(together[0] - together[1]).max() > 0.1


def test_guidance_of_some_channels():
    labels = jnp.array([1, 2])
    given = guided(lambda x, level, labels: x + labels[:, None], labels, 3.0, 1)(jnp.zeros((2, 2)), jnp.zeros(2))
    np.testing.assert_allclose(given, [[-1 + 3 * 2, 1], [-1 + 3 * 3, 2]])


def test_latents_are_scaled_and_scaled_back():
    model, variables = model_of("diffusion", scaling=0.0)
    variables["latents"] = {"mean": jnp.array([1.0, -2.0]), "deviation": jnp.array([2.0, 0.5])}
    latents = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, 4, 4, 2)), jnp.float32)
    scaled = model.apply(variables, latents, method="scaled")
    np.testing.assert_allclose(scaled[..., 1], (latents[..., 1] + 2) / 0.5, rtol=1e-6)
    np.testing.assert_allclose(model.apply(variables, scaled, method="unscaled"), latents, atol=1e-6)


@pytest.mark.parametrize("text", ["x", "0", "ddim7777", "600,600", "10,", "ddim999", "ddim10,20", "1001"])
def test_steps_that_cannot_be_taken(text):
    with pytest.raises(ValueError, match="steps"):
        respaced(text)


@pytest.mark.slow
def test_time_is_attended_in_every_second_block_only_where_asked():
    for temporal in (False, True):
        model, variables = model_of("diffusion", temporal=temporal)
        x, level, labels = jnp.ones((1, 2, 4, 4, 2)), jnp.array([5.0]), jnp.array([-1])
        changed = x.at[0, 1, :2].set(3.0)
        one, other = (model.apply(variables, x, level, labels, method="output") for x in (x, changed))
        assert bool(jnp.abs(one - other)[:, 0].max() > 1e-4) is temporal


def test_one_step_of_the_largest_variance():
    model, variables = model_of("diffusion", learned_range=False)
    assert jnp.isfinite(sample_latents(model, variables, jnp.array([-1]), keys(1), Denoising(steps="1"))).all()


def test_steps_and_channels_that_make_no_sense():
    model, variables = model_of("diffusion", prediction="flow", learned_range=False)
    for steps in ("0", "ddim5"):
        with pytest.raises(ValueError, match=f"a number of steps, not '{steps}'"):
            sample_latents(model, variables, jnp.array([-1]), keys(1), Denoising(steps=steps))
    with pytest.raises(ValueError, match="guided_channels is -1"):
        Denoising(guided_channels=-1)
    with pytest.raises(ValueError, match="guided_channels is 3, but the latents have 2"):
        sample_latents(model, variables, jnp.array([-1]), keys(1), Denoising(guided_channels=3))
