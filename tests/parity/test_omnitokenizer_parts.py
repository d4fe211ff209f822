"""Single stacks, encodings of position and resizing equal the PyTorch original on the golden files, in float32."""

import jax
import numpy as np
import pytest
from conftest import golden_files
from omni_weights import channels_last, outputs, read_golden, state_dict

from tokjax.conversion.omnitokenizer import from_torch_layout, stack_name
from tokjax.models.positions import distance_bias, distance_slopes, offset_index, rotate, rotation_angles
from tokjax.models.resize import resize_bilinear
from tokjax.models.token_layers import Style
from tokjax.models.transformer import RelativeBias, Stack

STACKS = golden_files("omnitokenizer/stack_*.npz")
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def load(template, state, name_of):
    """Variables shaped like the template, and the fixed biases of the norms."""
    path = jax.tree_util.tree_flatten_with_path(template)[0]
    names = [tuple(part.key for part in parts) for parts, _ in path]
    values = [from_torch_layout(("stack", *name[1:]), state[name_of(name[1:])]) for name in names]
    tree = jax.tree.unflatten(jax.tree.structure(template), values)
    betas = {}
    for name in names:
        if name[-1] == "scale" and name_of(name[1:]).endswith(".gamma"):
            node = betas
            for part in name[1:-1]:
                node = node.setdefault(part, {})
            node["beta"] = state[name_of((*name[1:-1], "beta"))]
    return {**tree, "constants": betas}


@pytest.mark.parametrize("path", STACKS, ids=lambda path: path.stem)
def test_stack(path):
    arrays, meta = read_golden(path)
    args, (b, t, h, w) = meta["config"]["args"], meta["config"]["video_shape"]
    along_time = not meta["config"]["is_spatial"]
    style = Style(
        heads=args["heads"],
        head_width=args["dim_head"],
        window=args.get("window_size", 8),
        position="rope" if args.get("spatial_pos") == "rope" else "relative",
        explicit=meta["config"]["attention"] == "explicit",
        causal=args.get("causal", False),
        causal_convolution=args.get("peg_causal", False),
    )
    x, expected = arrays["in/x"], outputs(arrays)["y"]
    x = np.moveaxis(x.reshape(b, h, w, t, -1), 3, 1) if along_time else x.reshape(b, t, h, w, -1)
    stack = Stack(args["block"], style, along_time)
    variables = load(jax.eval_shape(stack.init, jax.random.key(0), x), state_dict(arrays, meta), stack_name)
    y = np.asarray(jax.jit(stack.apply)(variables, x))
    y = np.moveaxis(y, 1, 3).reshape(expected.shape) if along_time else y.reshape(expected.shape)
    np.testing.assert_allclose(y, expected, **CLOSE)


@pytest.fixture
def positions(golden):
    arrays, meta = read_golden(golden("omnitokenizer/posenc_h8.npz"))
    return arrays, meta, outputs(arrays)


def test_rotations(positions):
    arrays, meta, expected = positions
    side, channels = meta["config"]["hw"], meta["config"]["dim_head"]
    angles = rotation_angles(side, side, channels)
    np.testing.assert_allclose(np.cos(angles), expected["rope_re"], atol=1e-6)
    np.testing.assert_allclose(np.sin(angles), expected["rope_im"], atol=1e-6)
    for name in ("q", "k"):
        np.testing.assert_allclose(rotate(arrays[f"in/{name}"], angles), expected[f"rope_{name}"], atol=1e-5)


def test_biases(positions):
    arrays, meta, expected = positions
    config = meta["config"]
    np.testing.assert_allclose(distance_slopes(config["heads"]), expected["alibi_slopes"].ravel(), rtol=1e-6)
    np.testing.assert_allclose(distance_bias(config["t"], config["heads"]), expected["alibi_bias"], rtol=1e-6)
    window = config["window"]
    np.testing.assert_array_equal(offset_index(window, window, (window, window)), expected["window_rel_index"])
    bias, side = RelativeBias(config["dim"], Style(heads=config["heads"])), config["hw"]
    template = jax.eval_shape(lambda key: bias.init(key, side, side), jax.random.key(0))
    layers = {"linear_0": "net.0.0", "linear_1": "net.1.0", "linear_2": "net.2"}
    leaves = {"kernel": "weight", "bias": "bias"}
    variables = load(template, state_dict(arrays, meta), lambda path: f"{layers[path[0]]}.{leaves[path[1]]}")
    np.testing.assert_allclose(bias.apply(variables, side, side), expected["cpb"], **CLOSE)


def test_resizing(golden):
    arrays, meta = read_golden(golden("omnitokenizer/resize_bilinear.npz"))
    video, expected = channels_last(arrays["in/x"]), outputs(arrays)
    for scale in meta["config"]["scales"]:
        side = int(scale * video.shape[2])
        resized = resize_bilinear(video, side, side, corners=True)
        np.testing.assert_allclose(resized, channels_last(expected[f"ac_{scale:g}"]), atol=1e-5)
    resized = resize_bilinear(video, 224, 224, corners=False)
    np.testing.assert_allclose(resized[:, :, ::7, ::7], channels_last(expected["fvd224"]), atol=1e-5)
