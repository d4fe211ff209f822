"""The language model against the original's logits, losses, gradients and samples."""

import jax
import jax.numpy as jnp
import numpy as np
import omni_weights
import pytest

from tokjax.conversion.generators import from_torch, to_torch
from tokjax.generation.decoder_block import BlockStyle
from tokjax.generation.filters import Drawing, nucleus, to_draw_from, top
from tokjax.generation.language_model import LanguageModel
from tokjax.generation.token_sampling import continued, sample_codes

GUIDED = ("sos_first", "class_first_sos")
SAMPLED = ("unconditional", "class_nosos", *GUIDED)


def model_of(arguments):
    conditional = not arguments.get("unconditional", False)
    classes = arguments.get("class_cond_dim", 0) if conditional else 0
    return LanguageModel(
        BlockStyle(arguments["n_embd"], arguments["n_head"], "published"),
        depth=arguments["n_layer"],
        grid=(2, 4, 4),
        codes=arguments["first_vocab"],
        classes=classes,
        mode="published",
        start_token=arguments.get("starts_with_sos", False),
        class_first=arguments.get("class_first", False),
        positions=arguments["block_size"],
        condition_dropout=arguments.get("p_drop_cond", 0.0),
    )


@pytest.fixture(params=(*SAMPLED, "sos_dropped"))
def case(request, golden):
    """(what is expected, inputs, config, model, its variables)."""
    arrays, meta = omni_weights.read_golden(golden(f"omnitokenizer/lm_{request.param}.npz"))
    model = model_of(meta["config"]["args"])
    state = omni_weights.state_dict(arrays, meta)
    params = from_torch(state, model)
    again = to_torch(params, model)
    assert again.keys() == state.keys() and all((again[name] == state[name]).all() for name in state)
    inputs = {name.removeprefix("in/"): value for name, value in arrays.items() if name.startswith("in/")}
    return omni_weights.outputs(arrays), inputs, meta["config"], model, {"params": params}


def test_losses_and_gradients(case):
    expected, given, config, model, variables = case
    batch = {"tokens": given["tokens"].reshape(-1, 2, 4, 4), "label": given["label"]}
    key = jax.random.key(0)  # the condition is dropped always or never

    def loss(params):
        return model.apply({"params": params}, batch, key, method="losses")

    gradients, terms = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    np.testing.assert_allclose(terms["loss"], expected["loss"], rtol=1e-5)
    np.testing.assert_allclose(100 * terms["accuracy"], expected["acc1"][0], atol=1e-4)
    norms = {name: np.linalg.norm(value) for name, value in to_torch(gradients, model).items()}
    ours = [norms[name] for name in config["param_names"]]
    np.testing.assert_allclose(ours, expected["gradnorm"], rtol=1e-3, atol=1e-6)
    codes = given["tokens"] + model.first_code
    (logits,) = model.apply(variables, codes, given["label"], key, method="logits")
    np.testing.assert_allclose(logits, expected["logits"], atol=1e-4, rtol=1e-4)
    np.testing.assert_array_equal(codes, expected["target"])


def branches(model, given, guided):
    """The ids before the first code, and which of their places are seen: as `sample_codes` makes them."""
    ids = model.prefix(given["label"])
    visible = jnp.ones((len(ids), model.slots), bool)
    if guided:
        ids = jnp.concatenate([ids, ids.at[:, :2].set(0)])
        visible = jnp.concatenate([visible, visible.at[:, 1].set(False)])
    return ids.astype(jnp.int32), visible


@pytest.mark.parametrize("case", SAMPLED, indirect=True)
def test_greedy_samples(case):
    expected, given, config, model, variables = case
    keys = jax.random.split(jax.random.key(0), len(given["label"]))
    ids, visible = branches(model, given, guided=False)
    if "prefix" in given:
        ids = jnp.asarray(given["prefix"])
    greedy = Drawing(temperature=config["temperature"], greedy=True)
    ours = continued(model, variables, ids, visible, keys, greedy, expected["greedy"].shape[1])
    np.testing.assert_array_equal(ours, expected["greedy"])


@pytest.mark.parametrize("grows", [False, True])
@pytest.mark.parametrize("case", GUIDED, indirect=True)
def test_greedy_guided_samples(case, grows):
    expected, given, config, model, variables = case
    keys, wanted = jax.random.split(jax.random.key(0), len(given["label"])), expected[f"greedy_cfg_scale{int(grows)}"]
    how = Drawing(config["temperature"], guidance=config["cfg_ratio"], guidance_grows=grows, greedy=True)
    ours = continued(model, variables, *branches(model, given, guided=True), keys, how, wanted.shape[1])
    np.testing.assert_array_equal(ours, wanted)
    whole = sample_codes(model, variables, given["label"], keys, how)
    np.testing.assert_array_equal(whole[:, : ours.shape[1]], np.clip(np.asarray(ours) - model.first_code, 0, model.codes - 1))


@pytest.mark.slow
@pytest.mark.parametrize("case", GUIDED, indirect=True)
def test_what_guided_samples_are_drawn_from(case):
    expected, given, config, model, variables = case
    how = Drawing(config["temperature"], config["top_k"], config["top_p"], config["cfg_ratio"])
    ids, visible = branches(model, given, guided=True)
    memory, start = model.empty_memory(len(ids)), 0
    for number in range(expected["filtered_probs"].shape[1]):
        found = []
        pick = lambda logits, digit: found.append(logits) or jnp.zeros(len(logits), int)  # noqa: B023, E731
        _, memory = model.apply(variables, ids, start, memory, visible, pick, method="further")
        ours = jax.nn.softmax(to_draw_from(found[0], how, number))
        np.testing.assert_allclose(ours, expected["filtered_probs"][:, number], atol=1e-5)
        start += ids.shape[1]
        ids = jnp.tile(given["forced"][:, number : number + 1], (2, 1))


def test_filters(golden):
    arrays, meta = omni_weights.read_golden(golden("omnitokenizer/topk_topp.npz"))
    for number, (count, share) in enumerate(meta["config"]["cases"]):
        kept = jnp.isfinite(nucleus(top(jnp.asarray(arrays["in/logits"]), count), share))
        np.testing.assert_array_equal(kept, arrays[f"out/keep{number}"], err_msg=f"top_k {count}, top_p {share}")
