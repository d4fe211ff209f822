"""The discriminators by themselves: sizes, starts, statistics, noise, precision, and what cannot be built."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from tokjax.models.discriminator_layers import BatchNorm
from tokjax.models.discriminators import KINDS, PatchDiscriminator, build_discriminator

RNG = np.random.default_rng(0)
TINY = {"kind": "vidtok_2d", "width": 4, "layers": 2, "norm": "batch", "activation": "leaky_relu", "noise": False}
TINY["dtype"] = "float32"


def built(**changes):
    return build_discriminator(ConfigDict(TINY | changes))


def shapes(module, *video):
    rngs = dict.fromkeys(("params", "noise"), jax.random.key(0))
    return jax.eval_shape(module.init, rngs, jax.ShapeDtypeStruct(video, np.float32))


@pytest.mark.parametrize(("kind", "parameters"), [("vidtok_2d", 2_765_633), ("vidtok_3d", 4_665_729)])
def test_parameter_counts_of_the_published(kind, parameters):
    params = shapes(built(kind=kind, width=64, layers=3), 1, 5, 64, 64, 3)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters


@pytest.mark.parametrize(
    ("kind", "clip", "logits"),
    [
        ("vidtok_2d", (2, 3, 64, 64, 3), (6, 1, 6, 6)),
        ("vidtok_2d", (1, 1, 256, 256, 3), (1, 1, 30, 30)),
        ("vidtok_3d", (2, 8, 32, 48, 3), (2, 2, 4, 6)),
        ("omni_image", (1, 2, 48, 64, 3), (2, 1, 9, 11)),
        ("omni_video", (1, 17, 64, 64, 3), (1, 5, 11, 11)),
    ],
)
def test_shapes_of_logits(kind, clip, logits):
    module = built(kind=kind, layers=3)
    variables = shapes(module, *clip)
    found, features = jax.eval_shape(module.apply, variables, jax.ShapeDtypeStruct(clip, np.float32))
    (name,) = found
    assert found[name].shape == logits and found[name].dtype == np.float32
    assert len(features[name]) == 4 and all(leaf.shape[:1] == clip[:1] for leaf in features[name])


@pytest.mark.parametrize(("kind", "layers"), [("vidtok_2d", 2), ("vidtok_2d", 3), ("vidtok_3d", 3), ("omni_image", 3)])
def test_the_smallest_side_leaves_one_logit_at_least(kind, layers):
    module = built(kind=kind, layers=layers)
    side = module.smallest_side

    def logits(side):
        clip = (1, 2, side, side, 3)
        return next(iter(jax.eval_shape(module.apply, shapes(module, 1, 2, 64, 64, 3), jnp.zeros(clip))[0].values())).shape

    assert min(logits(side)) >= 1
    if side > 1:
        assert 0 in logits(side - 1)


def test_who_judges_what():
    """Both see clips; single images are for the discriminator of images, which sees the frames that it is given."""
    module, video = built(kind="omni"), RNG.uniform(-1, 1, (2, 3, 16, 16, 3)).astype(np.float32)
    variables, look = jax.jit(module.init)(jax.random.key(0), video), jax.jit(module.apply)
    assert variables["params"].keys() == variables["batch_stats"].keys() == {"image", "video"}
    logits, features = look(variables, video)
    assert logits.keys() == features.keys() == {"image", "video"} and logits["image"].shape[0] == 6
    assert jax.eval_shape(module.apply, variables, video[:, :1])[0].keys() == {"image"}
    some, _ = look(variables, video, video[:, 1:2])
    np.testing.assert_allclose(some["image"], logits["image"].reshape(2, 3, 1, *logits["image"].shape[2:])[:, 1], atol=1e-5)
    np.testing.assert_array_equal(some["video"], logits["video"])


def test_batch_norm_as_pytorch_has_it():
    """Normalised by the biased variance; running averages move a tenth, to the unbiased one."""
    x, norm = RNG.normal(2, 3, (2, 1, 3, 4, 5)).astype(np.float32), BatchNorm()
    variables = norm.init(jax.random.key(0), x, True)
    assert float(variables["batch_stats"]["var"].sum()) == 5  # making the variables is no step of training
    y, changed = norm.apply(variables, x, True, mutable=["batch_stats"])
    flat = x.reshape(-1, 5).astype(np.float64)
    np.testing.assert_allclose(y.reshape(-1, 5), (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5), atol=1e-5)
    np.testing.assert_allclose(changed["batch_stats"]["mean"], 0.1 * flat.mean(0), rtol=1e-5)
    np.testing.assert_allclose(changed["batch_stats"]["var"], 0.9 + 0.1 * flat.var(0, ddof=1), rtol=1e-5)
    y = norm.apply(variables | changed, x, False)
    mean, var = changed["batch_stats"]["mean"], changed["batch_stats"]["var"]
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5), atol=1e-5)


def test_how_they_start():
    """VidTok's: kernels from N(0, 0.02), gains from N(1, 0.02). OmniTokenizer's: PyTorch's own, gains 1."""
    vidtok = jax.jit(built(width=32).init)(jax.random.key(0), np.zeros((1, 1, 12, 12, 3)))["params"]["image"]
    assert np.std(vidtok["conv_2"]["kernel"]) == pytest.approx(0.02, rel=0.02)
    assert np.std(vidtok["norm_2"]["scale"]) == pytest.approx(0.02, rel=0.3) and "bias" not in vidtok["conv_1"]
    omni = jax.jit(built(kind="omni_image", width=32).init)(jax.random.key(0), np.zeros((1, 1, 8, 8, 3)))["params"]["image"]
    bound = (4 * 4 * 64) ** -0.5
    assert 0.99 * bound < np.abs(omni["conv_2"]["kernel"]).max() <= bound
    assert np.std(omni["conv_2"]["kernel"]) == pytest.approx(bound / 3**0.5, rel=0.02)
    assert np.all(omni["norm_2"]["scale"] == 1) and np.abs(omni["conv_1"]["bias"]).max() > 0


def test_noise():
    """One standard normal map for all colours, of a learned strength that starts at 0, anew for each key."""
    judge = PatchDiscriminator("omni_image", width=4, layers=1, noise=True)
    video, seen = RNG.uniform(-1, 1, (2, 3, 32, 32, 3)).astype(np.float32), []
    variables = judge.init({"params": jax.random.key(0), "noise": jax.random.key(1)}, video)
    np.testing.assert_array_equal(variables["params"]["noise"], 0)
    variables["params"]["noise"] = jnp.array([0.0, 0.1, -0.2])

    def spy(x, _):
        seen.append(np.asarray(x - video) / 2)  # strengths are of pixels in half the range
        return x

    for seed in (1, 1, 2):
        judge.apply(variables, video, augment=spy, rngs={"noise": jax.random.key(seed), "augment": jax.random.key(0)})
    first, again, other = seen
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_allclose(first[..., 0], 0, atol=1e-7)
    np.testing.assert_allclose(first[..., 2], -2 * first[..., 1], atol=1e-6)
    assert np.std(first[..., 1]) == pytest.approx(0.1, rel=0.05) and abs(np.mean(first[..., 1])) < 0.01


def test_lower_precision_of_the_computation():
    video = RNG.uniform(-1, 1, (2, 2, 16, 16, 3)).astype(np.float32)
    variables = jax.jit(built().init)(jax.random.key(0), video)
    (exact, _), (rough, features) = (jax.jit(built(dtype=t).apply)(variables, video) for t in ("float32", "bfloat16"))
    assert rough["image"].dtype == np.float32 and features["image"][1].dtype == jnp.bfloat16
    np.testing.assert_allclose(rough["image"], exact["image"], atol=0.02 * float(np.abs(exact["image"]).max()))
    assert not np.array_equal(rough["image"], exact["image"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "vidtok"}, f"config.discriminator.kind must be one of {', '.join(KINDS)}, not 'vidtok'"),
        ({"kind": "omni", "norm": "group"}, "config.discriminator.norm must be batch for omni; only omni_image can have"),
    ],
)
def test_what_cannot_be_built(changes, message):
    with pytest.raises(ValueError, match=message):
        built(**changes)
