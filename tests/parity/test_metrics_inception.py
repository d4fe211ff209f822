"""Inception-v3 of FID against pytorch-fid and torch-fidelity, with seeded weights that went through the converter."""

import jax
import numpy as np
import pytest
from metrics_weights import cases, converted, relative, state_dict

from tokjax.evaluation.distributions import RULES, network_input
from tokjax.evaluation.inception import Inception

RULE_OF = {"pfid": "fid_torch", "tfid": "fid_tf1"}


@pytest.fixture(scope="module")
def data(golden):
    return np.load(golden("metrics/inception_fid.npz"))


@pytest.fixture(scope="module")
def outputs(data, tmp_path_factory):
    """What the network says of all cases by both rules, in one batch: {(case, side): {name: [n,...]}}."""
    weights = converted("inception", state_dict(data), tmp_path_factory.mktemp("inception"))
    parts = {(case, side): seen(data, case, side) for case in cases(data) for side in RULE_OF}
    batch = np.concatenate(list(parts.values()))
    (features, logits), kept = jax.jit(lambda params, x: Inception().apply({"params": params}, x, mutable=["taps"]))(
        weights.params, batch
    )
    taps = {name: np.asarray(value[0]) for name, value in kept["taps"].items()}
    bias = np.asarray(weights.params["fc.bias"])
    everything = {**taps, "2048": features, "logits_unbiased": logits, "logits": logits + bias}
    ends = np.cumsum([len(part) for part in parts.values()])[:-1]
    split = {name: np.split(np.asarray(value), ends) for name, value in everything.items()}
    return {key: {name: values[i] for name, values in split.items()} for i, key in enumerate(parts)}


def seen(data, case, side):
    return np.asarray(network_input(RULES[RULE_OF[side]], data[f"{case}_u8"].astype(np.float32)))


@pytest.mark.parametrize("case", ["a", "b", "c", "d"])
@pytest.mark.parametrize("side", RULE_OF)
def test_what_the_network_sees(data, case, side):
    """Enlarged, shrunk without smoothing, and of the size already."""
    ours = np.moveaxis(seen(data, case, side), -1, 1)[:, :, ::23, ::23]
    name = f"{case}_{side}_in299_sample"
    theirs = data[f"{name}_64"] if f"{name}_64" in data else data[name]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=3e-5)


@pytest.mark.parametrize("case", ["a", "b", "c", "d"])
@pytest.mark.parametrize("side", RULE_OF)
def test_activations_features_and_logits(data, outputs, case, side):
    for name, ours in outputs[case, side].items():
        assert relative(ours, data[f"{case}_{side}_{name}_64"]) < 5e-6, name
