"""Weights for videos made of weights for images: as the original makes them, and such that a still image stays itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from omni_weights import outputs, read_golden, state_dict

from tokjax.conversion.omnitokenizer import from_torch_layout, to_torch_layout, torch_name
from tokjax.models.patches import Embedding, Unembedding
from tokjax.models.token_layers import Style
from tokjax.training.carry_over import inflate, inflate_embedding, inflate_kernel, inflate_unembedding


@pytest.fixture
def inflation(golden):
    arrays, meta = read_golden(golden("omnitokenizer/inflate.npz"))
    return state_dict(arrays, meta), outputs(arrays), meta["config"]["new_tps"]


def published(state):
    """The ends of the model as our parameters, with what is there for later frames."""
    ends = {"embedding": ("norm_in", "linear", "norm_out"), "unembedding": ("linear",)}
    params = {"encoder": {"embedding": {}}, "decoder": {"unembedding": {}}}
    for half, end in (("encoder", "embedding"), ("decoder", "unembedding")):
        for kind in ("first_frame", "rest"):
            layers = {}
            for layer in ends[end]:
                leaves = ("kernel" if layer == "linear" else "scale", "bias")
                paths = {leaf: (half, end, kind, layer, leaf) for leaf in leaves}
                layers[layer] = {leaf: jnp.asarray(from_torch_layout(p, state[torch_name(p)])) for leaf, p in paths.items()}
            params[half][end][kind] = layers
    return params


@pytest.mark.parametrize("how", ["average", "first"])
def test_as_published(inflation, how):
    state, expected, frames = inflation
    params = published(state)
    inflated = inflate(params, frames, how)
    names = [name for name in expected if name.startswith(f"gen_{how}/")]
    assert len(names) == 8
    found = {}
    for path, value in jax.tree_util.tree_leaves_with_path(inflated):
        path = tuple(part.key for part in path)
        found[f"gen_{how}/{torch_name(path)}"] = to_torch_layout(path, np.asarray(value))
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, err_msg=name)
    first = jax.tree.map(
        np.array_equal, inflated["encoder"]["embedding"]["first_frame"], params["encoder"]["embedding"]["first_frame"]
    )
    assert all(jax.tree.leaves(first))


@pytest.mark.parametrize("how", ["average", "center", "first", "last"])
def test_discriminators_as_published(inflation, how):
    state, expected, _ = inflation
    for layer in ("model1.1", "model4.0"):
        kernel = jnp.asarray(state[f"image_discriminator.{layer}.weight"]).transpose(2, 3, 1, 0)
        theirs = expected[f"dis_{how}/video_discriminator.{layer}.weight"].transpose(2, 3, 4, 1, 0)
        np.testing.assert_allclose(inflate_kernel(kernel, how), theirs, rtol=1e-6)


def still_video(frames):
    image = np.random.default_rng(0).uniform(-1, 1, (1, 1, 8, 8, 3)).astype(np.float32)
    return jnp.asarray(np.repeat(image, frames, axis=1))


@pytest.mark.parametrize(("how", "same"), [("sound", True), ("average", False), ("first", False)])
def test_a_still_video_makes_the_tokens_of_its_image(how, same):
    end = Embedding(3, 4, 16, "linear", Style())
    params = end.init(jax.random.key(0), still_video(4))["params"]
    params["first_frame"]["norm_in"]["bias"] = jax.random.normal(jax.random.key(1), (48,))
    params["first_frame"]["norm_in"]["scale"] = jax.random.normal(jax.random.key(2), (48,))
    tokens = end.apply({"params": {**params, "rest": inflate_embedding(params["first_frame"], 3, how)}}, still_video(4))
    assert tokens.shape == (1, 2, 2, 2, 16)
    assert np.allclose(tokens[:, 1], tokens[:, 0], atol=1e-5) == same


@pytest.mark.parametrize(("how", "same"), [("sound", True), ("average", False), ("first", False)])
def test_equal_tokens_make_equal_frames(how, same):
    end, tokens = (
        Unembedding(3, 4, "linear", Style()),
        jnp.repeat(jax.random.normal(jax.random.key(0), (1, 1, 2, 2, 16)), 2, axis=1),
    )
    params = end.init(jax.random.key(1), tokens)["params"]
    video = end.apply({"params": {**params, "rest": inflate_unembedding(params["first_frame"], 3, how)}}, tokens)
    assert video.shape == (1, 4, 8, 8, 3)
    assert np.allclose(video, np.broadcast_to(video[:, :1], video.shape), atol=1e-5) == same
