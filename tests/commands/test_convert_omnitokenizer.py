"""tokjax convert omnitokenizer: published checkpoints in and out bit for bit, and one sentence for what is wrong with them."""

from functools import partial
from pathlib import Path

import command_line
import jax
import numpy as np
import pytest
from handmade_checkpoints import reference, stored, table, text, whole, zipped
from ml_collections import ConfigDict
from random_discriminators import published_discriminator
from tiny_omnitokenizer import random_variables, tiny_config, tiny_omnitokenizer

import tokjax
from tokjax.conversion.checkpoint_files import read_checkpoint, write_state
from tokjax.conversion.kept_discriminators import read_kept
from tokjax.conversion.omnitokenizer import to_torch
from tokjax.conversion.omnitokenizer_arguments import write_arguments
from tokjax.conversion.package import write
from tokjax.evaluation.context import streams_in
from tokjax.models.tokenizer import Tokenizer

done, refused = (partial(which, "convert omnitokenizer") for which in (command_line.done, command_line.refused))

LIKE = """
from tiny_omnitokenizer import tiny_config

VARIANTS = {"vq": {}, "kl": {}, "sound": {"mode": "sound"}}

def get_config(variant="vq"):
    return tiny_config("kl" if variant == "kl" else "vq", **VARIANTS[variant])
"""


def pickled(value):
    if isinstance(value, bool) or value is None:
        return {True: b"\x88", False: b"\x89", None: b"N"}[value]
    return text(value) if isinstance(value, str) else whole(int(value))


def as_checkpoint(state, arguments):
    """A .ckpt as PyTorch Lightning writes it, by hand, with its argparse.Namespace."""
    namespace = reference("argparse.Namespace") + b")\x81" + table({k: pickled(v) for k, v in arguments.items()}) + b"b"
    return with_hyper_parameters(state, table({"args": namespace}))


def with_hyper_parameters(state, pickle):
    state_dict, storages = stored(state)
    return zipped(table({"state_dict": state_dict, "hyper_parameters": pickle}), storages)


def published(quantizer="vq", **changes):
    """(our variables, state dict, arguments) of a tiny model."""
    config, model = tiny_config(quantizer, **changes), tiny_omnitokenizer(quantizer, **changes)
    variables = random_variables(model)
    if quantizer == "vq":
        variables["codebook"]["quantizer"]["initialized"] = np.ones((), bool)
    return variables, to_torch(variables, model), write_arguments(config.model)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a checkpoint."""
    monkeypatch.chdir(tmp_path)
    _, state, arguments = published()
    Path("m.ckpt").write_bytes(as_checkpoint(state, arguments))
    return tmp_path


@pytest.mark.parametrize("quantizer", ["vq", "kl"])
def test_there_and_back_is_bitwise(capsys, tmp_path, monkeypatch, quantizer):
    monkeypatch.chdir(tmp_path)
    variables, state, arguments = published(quantizer)
    state |= {"image_discriminator.model0.0.weight": np.ones(3, np.float32)}
    Path("m.ckpt").write_bytes(as_checkpoint(state, arguments))
    out = done(capsys, "--checkpoint m.ckpt -o model").out
    assert out.startswith(f"read m.ckpt: omnitokenizer fused {quantizer}, ")
    loaded = tokjax.load("model")
    assert loaded.module == tiny_omnitokenizer(quantizer, init="published")
    assert jax.tree.structure(loaded.variables) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, variables)
    video = np.random.default_rng(0).integers(0, 256, (1, 4, 9, 7, 3), np.uint8)
    assert loaded.reconstruct(video).shape == video.shape
    done(capsys, "--to-torch model -o back.safetensors")
    back, names = read_checkpoint(Path("back.safetensors")).tensors, state.keys() - {"image_discriminator.model0.0.weight"}
    assert back.keys() == names
    assert all(back[name].dtype == state[name].dtype and np.array_equal(back[name], state[name]) for name in names)


def test_a_checkpoint_of_ours_carries_its_arguments(capsys, place):
    pytest.importorskip("torch")
    done(capsys, "--checkpoint m.ckpt -o model")
    done(capsys, "--to-torch model -o back.ckpt")
    one, other = (read_checkpoint(Path(name)) for name in ("m.ckpt", "back.ckpt"))
    assert one.rest["hyper_parameters"]["args"].state == other.rest["hyper_parameters"]["args"].state
    done(capsys, "--checkpoint back.ckpt -o again")
    jax.tree.map(np.testing.assert_array_equal, tokjax.load("again").variables, tokjax.load("model").variables)


def test_the_spelling_of_released_checkpoints(capsys, place):
    _, state, arguments = published()
    old = {name.replace("causal_", "casual_"): value for name, value in arguments.items()} | {"q_strides": "4,4"}
    Path("old.ckpt").write_bytes(as_checkpoint(state, old))
    done(capsys, "--checkpoint old.ckpt -o model")
    assert tokjax.load("model").config.model.causal is True


@pytest.mark.parametrize(
    ("name", "option", "attention"),
    [
        ("imagenet_only.ckpt", "", "explicit"),
        ("celebahq.ckpt", "", "fused"),
        ("imagenet_only.ckpt", "--attention fused", "fused"),
        ("ffhq.ckpt", "--attention explicit", "explicit"),
    ],
)
def test_attention_by_rule_or_by_word(capsys, tmp_path, monkeypatch, name, option, attention):
    monkeypatch.chdir(tmp_path)
    _, state, arguments = published(position="relative", attention="explicit")
    Path(name).write_bytes(as_checkpoint(state, arguments))
    assert f"omnitokenizer {attention} vq" in done(capsys, f"--checkpoint {name} -o model {option}").out
    assert ("bias" in tokjax.load("model").variables["params"]["encoder"]["spatial"]["block_0"]["attention"]) == (
        attention == "explicit"
    )


def test_a_file_without_arguments_needs_a_row(capsys, place):
    variables, state, _ = published()
    write_state(Path("m.safetensors"), state)
    Path("like.py").write_text(LIKE)
    err = refused(capsys, "--checkpoint m.safetensors -o model")
    assert "m.safetensors does not hold the arguments that it was trained with; give the same model as --like" in err
    assert "m.ckpt holds the arguments that it was trained with; leave out --like" in refused(
        capsys, "--checkpoint m.ckpt --like like.py:vq -o model"
    )
    rows = Path(__file__).parents[2] / "experiments"
    err = refused(capsys, f"--checkpoint m.safetensors --like {rows}/vidtok.py:kl_causal_488_4chn -o model")
    assert "is a model of the family vidtok, not omnitokenizer; give a row of experiments/omnitokenizer.py" in err
    err = refused(capsys, "--checkpoint m.safetensors --like like.py:sound -o model")
    assert "--like is a model with mode='sound', embedding='linear' and vq latents, which the original OmniTokenizer" in err
    done(capsys, "--checkpoint m.safetensors --like like.py:vq -o model")
    jax.tree.map(np.testing.assert_array_equal, tokjax.load("model").variables, variables)


def test_tensors_that_do_not_fit_are_named(capsys, place):
    _, state, arguments = published()
    lacking = {name: value for name, value in state.items() if name != "pre_vq_conv.1.bias"}
    Path("lacking.ckpt").write_bytes(as_checkpoint(lacking, arguments))
    assert "the checkpoint lacks the tensor pre_vq_conv.1.bias" in refused(capsys, "--checkpoint lacking.ckpt -o model")
    Path("more.ckpt").write_bytes(as_checkpoint(state | {"encoder.more": np.ones(1, np.float32)}, arguments))
    assert "1 tensors that this model does not know, the first is encoder.more" in refused(
        capsys, "--checkpoint more.ckpt -o model"
    )
    Path("wide.ckpt").write_bytes(as_checkpoint(state, arguments | {"embedding_dim": 32}))
    assert "but this model needs" in refused(capsys, "--checkpoint wide.ckpt -o model")
    Path("odd.ckpt").write_bytes(as_checkpoint(state, arguments | {"enc_block": "tx"}))
    assert "config.model.encoder_blocks is 'tx'" in refused(capsys, "--checkpoint odd.ckpt -o model")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding_dim": "16"}, "the checkpoint's argument embedding_dim is '16', but must be a whole number"),
        ({"causal_in_peg": 1}, "the checkpoint's argument causal_in_peg is 1, but must be true or false"),
        ({"n_codes": None}, "the checkpoint's argument n_codes is None, but must be a whole number"),
        ({"gen_upscale": "2"}, "the checkpoint's argument gen_upscale is '2', but must be a whole number"),
        ({"resolution": "256"}, "the checkpoint's argument resolution is '256', but must be a whole number"),
        ({"use_vae": True, "kl_weight": "small"}, "the checkpoint's argument kl_weight is 'small', but must be a number"),
        ({"spatial_pos": None}, "the checkpoint has spatial_pos=None"),
    ],
)
def test_arguments_of_another_type_are_named(capsys, place, changes, message):
    _, state, arguments = published()
    Path("odd.ckpt").write_bytes(as_checkpoint(state, arguments | changes))
    assert message in refused(capsys, "--checkpoint odd.ckpt -o model")


def test_hyper_parameters_without_arguments_are_none(capsys, place):
    _, state, _ = published()
    for odd in (text("none"), reference("argparse.Namespace") + b")\x81", table({})):
        Path("odd.ckpt").write_bytes(with_hyper_parameters(state, odd))
        assert "odd.ckpt does not hold the arguments" in refused(capsys, "--checkpoint odd.ckpt -o model")


@pytest.mark.parametrize(("arguments", "frames", "side"), [({}, 17, 256), ({"resolution": 9, "sequence_length": 4}, 5, 12)])
def test_a_converted_model_is_scored_on_the_clips_of_the_published_evaluation(capsys, place, arguments, frames, side):
    """Those that it gives back whole: windows of 4 pixels, 2 frames to a code."""
    _, state, own = published()
    Path("m.ckpt").write_bytes(as_checkpoint(state, own | arguments))
    done(capsys, "--checkpoint m.ckpt -o model")
    Path("data").mkdir()
    Path("data/a.png").touch()
    Path("data/a.mp4").touch()
    streams = streams_in(Path("data"), tokjax.load("model").config)
    assert (streams["images"]["frames"], streams["images"]["resolution"]) == (1, side)
    assert (streams["videos"]["frames"], streams["videos"]["resolution"], streams["videos"]["frame_rate"]) == (frames, side, 16)


def test_the_discriminators_can_be_kept(capsys, place):
    _, state, arguments = published()
    _, variables, losses = published_discriminator("omni", noise=True)
    losses["perceptual_model.lin0.model.1.weight"] = np.ones((1, 2, 1, 1), np.float32)
    Path("full.ckpt").write_bytes(as_checkpoint(state | losses, arguments))
    done(capsys, "--checkpoint full.ckpt -o model --with-discriminator")
    kept = read_kept(Path("model/discriminator.safetensors"))
    assert kept.config["kind"] == "omni" and kept.config["noise"] and kept.log_variance is None
    assert jax.tree.all(jax.tree.map(np.array_equal, kept.variables, variables))
    done(capsys, "--to-torch model -o back.safetensors")
    back = read_checkpoint(Path("back.safetensors")).tensors
    assert back.keys() == (state | losses).keys() and all(np.array_equal(back[name], losses[name]) for name in losses)
    assert "m.ckpt holds no discriminator" in refused(capsys, "--checkpoint m.ckpt -o other --with-discriminator")


def test_a_model_that_enlarges_is_converted_too(capsys, place):
    _, state, arguments = published(upscale=2)
    Path("large.ckpt").write_bytes(as_checkpoint(state, arguments))
    done(capsys, "--checkpoint large.ckpt -o model")
    loaded = tokjax.load("model")
    assert loaded.upscale == 2 and not loaded.config.data.validation


def test_what_else_is_refused(capsys, place):
    done(capsys, "--checkpoint m.ckpt -o model")
    assert "model exists already" in refused(capsys, "--checkpoint m.ckpt -o model")
    assert "--like and --with-discriminator belong to" in refused(capsys, "--to-torch model --attention fused -o x.ckpt")
    content = Path("m.ckpt").read_bytes()
    Path("half.ckpt").write_bytes(content[: len(content) // 2])
    assert "half.ckpt" in refused(capsys, "--checkpoint half.ckpt -o other")
    config = ConfigDict(tiny_config(mode="sound").to_dict())
    model = tiny_omnitokenizer(mode="sound")
    write(Tokenizer(model, random_variables(model), config), Path("sound"), 0, "a test")
    err = refused(capsys, "--to-torch sound -o x.safetensors")
    assert "sound is a model with mode='sound', embedding='linear' and vq latents, which the original OmniTokenizer" in err
