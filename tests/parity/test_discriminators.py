"""Discriminators against the originals' outputs, gradients and running statistics."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import omni_weights
import pytest
import torch_weights

from tokjax.conversion.discriminators import PREFIXES, from_torch, to_torch
from tokjax.losses.augment import Draws, apply
from tokjax.models.discriminators import Discriminators, PatchDiscriminator

OMNI = "eval train group noise_blur_tanh diffaug_train"
OMNI_FILES = [f"disc2d_{case}" for case in OMNI.split()] + ["disc3d_eval", "disc3d_train", "disc3d_noise_diffaug"]


def channels_last(array):
    """[n,c,h,w] -> [1,n,h,w,c], frames of one clip; [b,c,t,h,w] -> [b,t,h,w,c]."""
    return np.moveaxis(array, 1, -1) if array.ndim == 5 else np.moveaxis(array, 1, -1)[None]


def channels_first(array, like):
    return np.moveaxis(array if like.ndim == 5 else array[0], -1, 1)


def close(ours, theirs, atol=1e-4, rtol=1e-4):
    np.testing.assert_allclose(np.asarray(ours, np.float32), theirs, atol=atol, rtol=rtol)


@pytest.mark.parametrize("case", ["d2", "d3", "d2_n2"])
def test_vidtok(golden, case):
    arrays, meta = torch_weights.read_golden(golden("vidtok/unit_discriminators.npz"))
    about = meta["cases"][case]
    judge = PatchDiscriminator(f"vidtok_{about['type']}", layers=about["n_layers"])
    name = "image" if judge.judges_frames else "video"
    module = Discriminators(**{name: judge})
    state = torch_weights.state_dict({"spec": about["spec"], "seed": meta["seed"]})
    variables = from_torch({PREFIXES["vidtok"][name] + key: value for key, value in state.items()}, module)
    video = channels_last(arrays[f"in:{case}"])

    @functools.partial(jax.jit, static_argnums=2)
    def judged(params, video, train):
        """(gradients of what the original differentiated, (logits, running statistics))."""

        def loss(params, video):
            (logits, _), changed = module.apply(variables | {"params": params}, video, train=train, mutable=["batch_stats"])
            value = jax.nn.relu(1 + logits[name]) if train else logits[name]
            return value.mean(), (logits[name], changed["batch_stats"])

        return jax.grad(loss, (0, 1), has_aux=True)(params, video)

    for train, label in ((False, "eval"), (True, "train")):
        (dw, dx), (logits, changed) = judged(variables["params"], video, train)
        close(logits, arrays[f"out:{case}/{label}"].reshape(logits.shape))
        theirs = arrays[f"out:{case}/{label}_dx"]
        close(channels_first(dx, theirs), theirs, atol=1e-6 + 1e-3 * np.abs(theirs).max())
    published = to_torch({"params": dw, "batch_stats": changed}, module)
    norms = [np.linalg.norm(published[PREFIXES["vidtok"][name] + key]) for key in about["param_order"]]
    close(norms, arrays[f"out:{case}/train_dw_norms"], rtol=1e-3)
    for key in arrays:
        if key.startswith(f"out:{case}/after:") and "running" in key:
            close(published[PREFIXES["vidtok"][name] + key.removeprefix(f"out:{case}/after:")], arrays[key])


@pytest.mark.parametrize("file", OMNI_FILES)
def test_omnitokenizer(golden, file):
    arrays, meta = omni_weights.read_golden(golden(f"omnitokenizer/{file}.npz"))
    about, args, theirs = meta["config"], meta["config"]["args"], omni_weights.outputs(arrays)
    state = omni_weights.state_dict(arrays, meta)
    name = "video" if about["video"] else "image"
    judge = PatchDiscriminator(
        f"omni_{name}", args["ndf"], args["n_layers"], args["norm_type"], args.get("activation", "leaky_relu")
    )
    module = Discriminators(**{name: judge})
    state = {PREFIXES["omni"][name] + key: value for key, value in state.items()}
    strength = state.pop(f"{PREFIXES['omni'][name]}noise.weight", None)
    variables, video = from_torch(state, module), 2 * channels_last(arrays["in/x"])
    numbers = [value for key, value in sorted(arrays.items()) if key.startswith("in/rng_")]
    if strength is not None:  # the first thing that happens to the input, with the numbers that were drawn
        video = video + 2 * strength * channels_last(numbers.pop(0))
    augment = None
    if about["apply_diffaug"]:
        draws = Draws(*(number.reshape(-1) for number in numbers))

        def augment(video, _):
            return apply(video.reshape(-1, *video.shape[2:]), draws).reshape(video.shape)

    @jax.jit
    def judged(video):
        (logits, features), changed = module.apply(
            variables, video, train=about["train"], augment=augment, rngs={"augment": jax.random.key(0)}, mutable=["batch_stats"]
        )
        return jnp.mean(logits[name]), (logits[name], features[name], changed)

    dx, (logits, features, changed) = jax.grad(judged, has_aux=True)(video)
    close(logits, theirs["logits"].reshape(logits.shape))
    assert len(features) == theirs["n_feats"] - 1
    for number, feature in enumerate(features):
        close(channels_first(feature, theirs[f"feat{number}"]), theirs[f"feat{number}"])
    ours = channels_first(2 * dx, theirs["dx_mean_logits"])  # of pixels in half the range
    close(ours, theirs["dx_mean_logits"], atol=1e-7 + 1e-3 * np.abs(theirs["dx_mean_logits"]).max(), rtol=1e-2)
    running = {key: value for key, value in theirs.items() if key.startswith("after/")}
    if running:
        published = to_torch({"params": variables["params"], **changed}, module)
        for key, value in running.items():
            close(published[PREFIXES["omni"][name] + key.removeprefix("after/")], value)
