"""I3D of FVD against VideoGPT's and StyleGAN-V's ports, and OmniTokenizer's distances, with seeded weights."""

import jax
import numpy as np
import omni_weights
import pytest
from metrics_weights import converted, relative, state_dict

from tokjax.evaluation.distributions import RULES, TRUNCATED, network_input
from tokjax.evaluation.frechet import Moments, frechet_distance
from tokjax.evaluation.i3d import I3D

# By golden file: the original's mark -> our rule.
SIDES = {"i3d_videogpt": {"omni": "fvd_omnitokenizer", "vgpt": "fvd_videogpt"}, "i3d_tfhub": {"sgv": "fvd_styleganv"}}
QUICK = {("i3d_videogpt", "c")}  # the others take seconds each
CASES = [("i3d_videogpt", case) for case in "abcd"] + [("i3d_tfhub", case) for case in "ab"]


@pytest.fixture(scope="module")
def weights(golden, tmp_path_factory):
    def of(name):
        if name not in found:
            data = np.load(golden(f"metrics/{name}.npz"))
            found[name] = data, converted("i3d", state_dict(data), tmp_path_factory.mktemp(name)).params
        return found[name]

    found = {}
    return of


def logits_and_taps(params, module, video):
    logits, kept = jax.jit(lambda params, x: module.apply({"params": params}, x, mutable=["taps"]))(params, video)
    return np.asarray(logits), {name.removeprefix("after_"): np.asarray(value[0]) for name, value in kept["taps"].items()}


@pytest.mark.parametrize(("name", "case"), CASES)
def test_what_the_network_sees(golden, name, case):
    data = np.load(golden(f"metrics/{name}.npz"))
    levels = data[f"{case}_u8"].astype(np.float32)
    for mark, rule in SIDES[name].items():
        if f"{case}_{mark}_in_sample" in data:
            ours = np.moveaxis(np.asarray(network_input(RULES[rule], levels)), -1, 1)[:, :, ::5, ::31, ::31]
            np.testing.assert_allclose(ours, data[f"{case}_{mark}_in_sample"], rtol=0, atol=3e-5)


def check_case(weights, name, case):
    data, params = weights(name)
    levels = data[f"{case}_u8"].astype(np.float32)
    for mark, rule_name in SIDES[name].items():
        if f"{case}_{mark}_logits64" not in data:
            continue
        rule = RULES[rule_name]
        video = network_input(rule, levels)
        logits, taps = logits_and_taps(params, I3D(rule.epsilon), video)
        assert relative(logits, data[f"{case}_{mark}_logits64"]) < 1e-5
        if f"{case}_ep_names" in data and mark in ("omni", "sgv"):
            check_taps(data, case, taps)


def check_taps(data, case, taps):
    names, samples = [str(text) for text in data[f"{case}_ep_names"]], data[f"{case}_ep_sample64"]
    spreads = data[f"{case}_ep_std64"]
    found = 0
    for name, theirs, spread in zip(names, samples, spreads, strict=True):
        ours = next((value for tap, value in taps.items() if tap.lower() == name.lower()), None)
        if ours is not None:
            flat = np.moveaxis(ours, -1, 1).ravel()
            sample = flat[:: max(1, flat.size // 8)][:8]
            np.testing.assert_allclose(sample, theirs, rtol=2e-5, atol=2e-5 * spread, err_msg=name)
            found += 1
    assert found >= 10


def test_a_short_clip(weights):
    check_case(weights, "i3d_videogpt", "c")


@pytest.mark.slow  # 224 x 224 pixels and up to 17 frames, several shapes to compile
@pytest.mark.parametrize(("name", "case"), [pair for pair in CASES if pair not in QUICK])
def test_all_clips(weights, name, case):
    check_case(weights, name, case)


@pytest.mark.slow
def test_epsilon_and_static_padding(weights):
    """Both change the logits by far more than rounding, so that neither can be taken for the other."""
    data, params = weights("i3d_videogpt")
    video = network_input(RULES["fvd_omnitokenizer"], data["c_u8"].astype(np.float32))
    logits, _ = logits_and_taps(params, I3D(1e-3), video)
    assert relative(logits, data["c_omni_eps1e3_logits64"]) < 1e-5
    data, params = weights("i3d_tfhub")
    video = network_input(RULES["fvd_styleganv"], data["b_u8"].astype(np.float32))
    logits, _ = logits_and_taps(params, I3D(1e-3, "static"), video)
    assert relative(logits, data["b_sgv_static_t_logits64"]) < 1e-5
    assert relative(data["b_sgv_logits64"], data["b_sgv_static_t_logits64"]) > 1e-3


def test_omnitokenizers_evaluation(golden, tmp_path):
    """Its preprocessing, its network on a clip of 10 frames, and its distances of feature sets (in float32 there)."""
    arrays, meta = omni_weights.read_golden(golden("omnitokenizer/i3d_fvd.npz"))
    theirs = omni_weights.outputs(arrays)
    params = converted("i3d", omni_weights.state_dict(arrays, meta), tmp_path).params
    levels = arrays["in/video_u8"].astype(np.float32)
    rule = RULES["fvd_omnitokenizer"]
    video = network_input(rule, levels)
    assert relative(logits_and_taps(params, I3D(rule.epsilon), video)[0], theirs["logits"]) < 1e-5
    ours = np.moveaxis(np.asarray(video), -1, 1)[..., ::8, ::8]
    np.testing.assert_allclose(ours.ravel(), theirs["pre_square_slice"].ravel(), rtol=0, atol=3e-5)
    sets = [Moments(), Moments()]
    for moments, name in zip(sets, ("fa", "fb"), strict=True):
        moments.add(arrays[f"in/{name}"])
    for name in ("frechet", "frechet_videogpt"):
        assert frechet_distance(*sets) == pytest.approx(float(theirs[name]), rel=2e-2)


def test_levels_of_code_in_half_range():
    """Its float32 arithmetic level by level: most levels stay, a few fall by one."""
    direct = [int((np.float32(u) / np.float32(255) - np.float32(0.5) + np.float32(0.5)) * np.float32(255)) for u in range(256)]
    assert TRUNCATED.tolist() == direct
    assert set((np.arange(256) - TRUNCATED).tolist()) <= {0.0, 1.0}
