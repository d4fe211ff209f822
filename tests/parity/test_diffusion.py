"""DiT and Latte against the original's forward passes, losses and trajectories, and the tables of its schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import omni_weights
import pytest

from tokjax.conversion.generators import from_torch, to_torch
from tokjax.generation.diffusion_process import noise_losses
from tokjax.generation.diffusion_transformer import DiffusionTransformer
from tokjax.generation.latent_diffusion import LatentDiffusion
from tokjax.generation.latent_sampling import denoised, guided
from tokjax.generation.noise_schedule import make_schedule


def model_of(config):
    args, side = config["args"], config["args"]["input_size"]
    network = DiffusionTransformer(
        grid=(args.get("num_frames", 1), side, side),
        channels=args["in_channels"],
        patch=args["patch_size"],
        width=args["hidden_size"],
        depth=args["depth"],
        heads=args["num_heads"],
        outputs=2 * args["in_channels"],
        classes=args["num_classes"],
        temporal=config["latte"],
    )
    return LatentDiffusion(network, scaling=0.18215)


def ours(array):
    """[...,b,c,h,w] or [...,b,t,c,h,w] -> [...,b,t,h,w,c]; a trajectory has one axis in front."""
    return np.moveaxis(array, -3, -1)


@pytest.fixture(params=["dit_small", "latte_small"])
def case(request, golden):
    arrays, meta = omni_weights.read_golden(golden(f"omnitokenizer/{request.param}.npz"))
    model, state = model_of(meta["config"]), omni_weights.state_dict(arrays, meta)
    params = from_torch(state, model)
    again = to_torch(params, model)
    assert again.keys() == state.keys()
    for name in state:
        np.testing.assert_allclose(again[name], state[name], atol=2e-6 if "_embed" in name and state[name].ndim == 3 else 0)

    def read(name):
        array = ours(arrays[name])
        latte = meta["config"]["latte"]
        return array if latte else np.expand_dims(array, array.ndim - 3)  # an image is a clip of one frame

    return arrays, meta["config"], model, {"params": params}, read


def test_forward(case):
    arrays, config, model, variables, read = case
    x, level, labels = read("in/x"), arrays["in/t"], arrays["in/y"]
    given = model.apply(variables, x, level, labels, method="output")
    np.testing.assert_allclose(given, read("out/forward"), atol=1e-4, rtol=1e-4)
    channels = 4 if config["latte"] else 3
    network = guided(lambda *inputs: model.apply(variables, *inputs, method="output"), labels, config["cfg_scale"], channels)
    np.testing.assert_allclose(network(x, level), read("out/forward_cfg")[: len(x)], atol=2e-4, rtol=1e-4)


def test_losses_and_gradients(case):
    arrays, config, model, variables, read = case

    def loss(params):
        def network(x, level):
            return model.apply({"params": params}, x, level, arrays["in/y"], method="output")

        terms = noise_losses(make_schedule(), network, read("in/x"), jnp.asarray(arrays["in/t"]), read("in/noise"))
        return (terms["mse"] + terms["vb"]).mean(), terms

    gradients, terms = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    np.testing.assert_allclose(terms["mse"], arrays["out/train_mse"], rtol=1e-4)
    np.testing.assert_allclose(terms["vb"], arrays["out/train_vb"], rtol=1e-3)
    norms = {name: np.linalg.norm(value) for name, value in to_torch(gradients, model).items()}
    np.testing.assert_allclose([norms[name] for name in config["param_names"]], arrays["out/gradnorm"], rtol=1e-3, atol=1e-6)


def test_trajectories(case):
    arrays, config, model, variables, read = case
    labels = jnp.asarray(arrays["in/y"])
    for run, (first, last) in config["noise_map"].items():
        method, steps = run[:4], run[4:].removesuffix("_cfg")
        schedule, strength = make_schedule(steps), config["cfg_scale"] if run.endswith("_cfg") else 1
        np.testing.assert_array_equal(schedule.levels, arrays[f"out/{run}_timesteps"])
        noise = np.stack([read(f"in/rng_{number:03d}_randn_like")[: len(labels)] for number in range(first, last)])
        expected = read(f"out/{run}_traj")[:, : len(labels)]  # the second half is the other branch, which ours does not carry

        @jax.jit
        def sampled(variables, x, noise, schedule=schedule, strength=strength, method=method):
            network = guided(
                lambda *inputs: model.apply(variables, *inputs, method="output"), labels, strength, 4 if config["latte"] else 3
            )
            return denoised(schedule, network, x, method, noise.__getitem__, every=True)

        np.testing.assert_allclose(
            sampled(variables, read("in/z"), jnp.asarray(noise)), expected, atol=3e-3, rtol=1e-3, err_msg=run
        )


def test_schedules(golden):
    arrays, meta = omni_weights.read_golden(golden("omnitokenizer/diffusion_tables.npz"))
    for respacing in meta["config"]["respacing"]:
        schedule, name = make_schedule(respacing), f"out/r_{respacing or 'full'}_"
        np.testing.assert_array_equal(schedule.levels, arrays[f"{name}timesteps"])
        theirs = {
            "betas": schedule.betas,
            "alphas_cumprod": schedule.kept,
            "posterior_variance": schedule.variance,
            "posterior_log_variance_clipped": schedule.log_variance,
            "posterior_mean_coef1": schedule.mean_of_latents,
            "posterior_mean_coef2": schedule.mean_of_noisy,
            "sqrt_recip_alphas_cumprod": np.sqrt(1 / schedule.kept),
            "sqrt_recipm1_alphas_cumprod": np.sqrt(1 / schedule.kept - 1),
        }
        for key, value in theirs.items():
            np.testing.assert_allclose(value, arrays[f"{name}{key}_f64"], rtol=1e-9, atol=1e-15, err_msg=f"{respacing} {key}")
