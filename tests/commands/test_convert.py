"""tokjax convert: published checkpoints in and out bit for bit, and one sentence for whatever is wrong with them."""

import json
import os
import pickle
import re
from functools import cache, partial
from pathlib import Path

import command_line
import jax
import numpy as np
import pytest
from handmade_checkpoints import legacy, stored, table, text, whole, zipped
from published_yaml import FAMILIES, published_yaml
from random_discriminators import published_discriminator
from tiny_tokenizer import tiny_config, write_tiny

import tokjax
from tokjax.conversion.checkpoint_files import read_checkpoint, write_state
from tokjax.conversion.converted import make_tokenizer
from tokjax.conversion.kept_discriminators import read_kept
from tokjax.conversion.vidtok import to_torch

done, refused = (partial(which, "convert vidtok") for which in (command_line.done, command_line.refused))

DISCRIMINATOR = published_discriminator("vidtok_2d")
LOSSES = DISCRIMINATOR[2] | {
    "loss.logvar": np.array(0.25, np.float32),
    "loss.discriminator.main.3.num_batches_tracked": np.array(12),
    "loss.perceptual_loss.lin0.model.1.weight": np.ones((1, 2, 1, 1), np.float32),
}


@cache
def tokenizer(causality="causal", quantizer="kl"):
    """A tiny model of random weights."""
    config, rng = tiny_config(quantizer), np.random.default_rng(0)
    config.model.causality = causality
    return make_tokenizer(
        config, lambda shapes: jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)
    )


def published_state(causality="causal", quantizer="kl"):
    """Its weights with the published names."""
    return to_torch(tokenizer(causality, quantizer).variables["params"], causality=causality)


def as_checkpoint(state, rest=()):
    """A .ckpt as PyTorch Lightning writes it, by hand."""
    state_dict, storages = stored(state)
    return zipped(table({"epoch": whole(3), "state_dict": state_dict, **dict(rest)}), storages)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a checkpoint and its .yaml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.ckpt").write_bytes(as_checkpoint(published_state()))
    (tmp_path / "m.yaml").write_text(published_yaml())
    return tmp_path


@pytest.mark.parametrize("causality", FAMILIES)
@pytest.mark.parametrize("quantizer", ["kl", "fsq"])
def test_there_and_back_is_bitwise(capsys, tmp_path, monkeypatch, causality, quantizer):
    monkeypatch.chdir(tmp_path)
    state, known = published_state(causality, quantizer), tokenizer(causality, quantizer)
    (tmp_path / "m.ckpt").write_bytes(as_checkpoint(state))
    (tmp_path / "m.yaml").write_text(published_yaml(causality, quantizer))
    out = done(capsys, "--checkpoint m.ckpt --config m.yaml -o model").out
    parameters = sum(value.size for value in state.values())
    assert re.match(rf"read m.ckpt: vidtok {causality} {quantizer}, {parameters:,} parameters, digest [0-9a-f]{{16}}\n", out)
    assert "open it with tokjax.load('model')" in out and sorted(os.listdir(".")) == ["m.ckpt", "m.yaml", "model"]
    loaded = tokjax.load("model")
    assert loaded.module == known.module and loaded.config.name == "m"
    assert done(capsys, "--to-torch model -o back.safetensors").out == f"wrote {len(state)} tensors to back.safetensors\n"
    back = read_checkpoint(tmp_path / "back.safetensors").tensors
    assert back.keys() == state.keys()
    for name, value in state.items():
        assert back[name].dtype == value.dtype
        np.testing.assert_array_equal(back[name], value, err_msg=name)


def test_a_converted_model_computes(capsys, place):
    """The same latents as the tokenizer whose weights the checkpoint holds."""
    done(capsys, "--checkpoint m.ckpt --config m.yaml -o model")
    known = tokenizer()
    video = np.random.default_rng(1).integers(0, 256, (1, 3, 4, 4, 3), np.uint8)
    np.testing.assert_array_equal(tokjax.load("model").encode(video).latents, known.encode(video).latents)
    card = (place / "model" / "README.md").read_text()
    assert "| source | converted from m.ckpt |" in card and "discriminator" not in card


def test_what_training_leaves_in_a_checkpoint_is_left_out(capsys, place):
    """Losses, moving averages, hyper-parameters, the prefix of compiled modules, and lower precision."""
    state = published_state()
    compiled = {name.replace(".", "._orig_mod.", 1): value for name, value in state.items()}
    extra = LOSSES | {"model_ema.decay": np.array(0.5, np.float32), "model_ema.encoderconv": np.zeros(3, np.float32)}
    (place / "full.ckpt").write_bytes(as_checkpoint(compiled | extra, {"hyper_parameters": table({"lr": text("1e-5")})}))
    done(capsys, "--checkpoint full.ckpt --config m.yaml -o model")
    done(capsys, "--to-torch model -o back.safetensors")
    back = read_checkpoint(place / "back.safetensors").tensors
    assert back.keys() == state.keys() and all(np.array_equal(back[name], state[name]) for name in state)
    assert not (place / "model" / "discriminator.safetensors").exists()
    write_state(place / "half.safetensors", {name: value.astype(np.float16) for name, value in state.items()})
    done(capsys, "--checkpoint half.safetensors --config m.yaml -o half")
    leaf = tokjax.load("half").variables["params"]["encoder"]["conv_in"]["bias"]
    np.testing.assert_array_equal(leaf, state["encoder.conv_in.conv.bias"].astype(np.float16).astype(np.float32))


def test_the_discriminator_can_be_kept(capsys, place):
    state = published_state()
    write_state(place / "full.safetensors", state | LOSSES)
    done(capsys, "--checkpoint full.safetensors --config m.yaml -o model --with-discriminator")
    kept = read_checkpoint(place / "model" / "discriminator.safetensors").tensors
    assert kept.keys() == LOSSES.keys() and all(np.array_equal(kept[name], LOSSES[name]) for name in LOSSES)
    ready = read_kept(place / "model" / "discriminator.safetensors")
    assert (ready.config["kind"], ready.config["width"], ready.log_variance) == ("vidtok_2d", 4, 0.25)
    assert jax.tree.all(jax.tree.map(np.array_equal, ready.variables, DISCRIMINATOR[1]))
    assert "`discriminator.safetensors` holds what the training losses learned" in (place / "model" / "README.md").read_text()
    tokjax.load("model")
    done(capsys, "--to-torch model -o back.safetensors")
    assert (place / "back.safetensors").read_bytes() == (place / "full.safetensors").read_bytes()
    err = refused(capsys, "--checkpoint m.ckpt --config m.yaml -o other --with-discriminator")
    assert "m.ckpt holds no discriminator that could be trained further: it has none of the tensors loss.disc" in err


def test_a_row_instead_of_a_yaml(capsys, place):
    (place / "rows.py").write_text(
        "from tiny_tokenizer import tiny_config\nVARIANTS = {'kl': 0, 'fsq': 0}\n\n\n"
        "def get_config(variant):\n    config = tiny_config(variant)\n    config.model.dtype = 'bfloat16'\n    return config\n"
    )
    done(capsys, "--checkpoint m.ckpt --like rows.py:kl -o model")
    assert tokjax.load("model").config.model.dtype == "float32"
    err = refused(capsys, "--checkpoint m.ckpt --like rows.py:fsq -o other")
    assert re.search(r"the tensor encoder.conv_out.conv.\w+ has shape \(4,", err)
    rows = Path(__file__).parents[2] / "experiments"
    err = refused(capsys, f"--checkpoint m.ckpt --like {rows}/omnitokenizer.py:joint_vq -o other")
    assert "is a model of the family omnitokenizer, not vidtok; give a row of experiments/vidtok.py" in err
    assert "has no variant 'vq'" in refused(capsys, "--checkpoint m.ckpt --like rows.py:vq -o other")
    assert "give its .yaml with --config" in refused(capsys, "--checkpoint m.ckpt -o other")


def test_a_diffusers_directory_without_diffusers(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = published_state("causal_v1_1")
    config = {"_class_name": "AutoencoderVidTok", "ch": 4, "ch_mult": [1, 1], "num_res_blocks": 1, "z_channels": 2}
    config |= {"tempo_ds": [0], "tempo_us": [1], "regularizer": "kl", "is_causal": True, "double_z": True, "spatial_ds": None}
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.json").write_text(json.dumps(config))
    write_state(tmp_path / "theirs" / "diffusion_pytorch_model.safetensors", state)
    out = done(capsys, "--checkpoint theirs -o ours").out
    assert out.startswith("read theirs: vidtok causal_v1_1 kl, ")
    done(capsys, "--to-diffusers ours -o back")
    again = json.loads((tmp_path / "back" / "config.json").read_text())
    assert config.items() <= again.items()
    for name in ("theirs", "back"):
        assert read_checkpoint(tmp_path / name / "diffusion_pytorch_model.safetensors").tensors.keys() == state.keys()
    assert "leave out --config and --like" in refused(capsys, "--checkpoint theirs --config x.yaml -o other")
    changes = [
        ({"_class_name": "AutoencoderKL"}, "describes AutoencoderKL, not AutoencoderVidTok"),
        ({"regularizer": "vq"}, "the regularizer must be kl or fsq, not 'vq'"),
        ({"ch": "wide"}, "ch is 'wide', but must be a whole number"),
        ({"in_channels": 4}, "in_channels and out_channels must be 3"),
    ]
    for change, message in changes:
        (tmp_path / "theirs" / "config.json").write_text(json.dumps(config | change))
        assert message in refused(capsys, "--checkpoint theirs -o other")
    (tmp_path / "theirs" / "config.json").write_text("{")
    assert "config.json: it is no JSON" in refused(capsys, "--checkpoint theirs -o other")
    (tmp_path / "theirs" / "config.json").unlink()
    assert "No such file or directory: 'theirs/config.json'" in refused(capsys, "--checkpoint theirs -o other")


def test_models_that_others_cannot_hold(capsys, place):
    done(capsys, "--checkpoint m.ckpt --config m.yaml -o model")
    assert "cannot hold this model: it knows the causal models of v1.1 only" in refused(capsys, "--to-diffusers model -o other")
    config = json.loads((place / "model" / "config.json").read_text())
    for changes, message in (
        ({"causality": "causal_v1_1", "norm": "groupnorm", "channels": 32}, "it has layer norms only"),
        ({"causality": "causal_v1_1", "quantizer": {"name": "fsq", "levels": [5, 4]}}, "its codes are FSQ with 8 levels"),
    ):
        model = config["model"] | changes | {"quantizer": config["model"]["quantizer"] | changes.get("quantizer", {})}
        (place / "model" / "config.json").write_text(json.dumps(config | {"model": model}))
        assert message in refused(capsys, "--to-diffusers model -o other")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("decoder.mid.attn_1.q.conv.bias", None, "lacks the tensor decoder.mid.attn_1.q.conv.bias, which this model needs"),
        ("encoder.down.0.attn.q.weight", 2, "1 tensors that this model does not know, the first is encoder.down.0.attn.q.weight"),
        ("encoder.conv_in.conv.bias", 5, "the tensor encoder.conv_in.conv.bias has shape (5,), but this model needs (4,)"),
    ],
)
def test_tensors_that_do_not_fit(capsys, place, name, value, message):
    state = published_state() | {name: np.zeros(value or 0, np.float32)}
    write_state(place / "w.safetensors", {key: tensor for key, tensor in state.items() if value or key != name})
    assert message in refused(capsys, "--checkpoint w.safetensors --config m.yaml -o model")


class Payload:
    def __reduce__(self):
        return os.mkdir, ("was_run",)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda whole_file: whole_file[: len(whole_file) // 2], "m.ckpt is cut short or damaged"),
        (
            lambda _: legacy(pickle.dumps(Payload(), 2)[2:-1], {}),
            "m.ckpt asks for posix.mkdir, which is no data and is never run",
        ),
        (
            lambda _: zipped(pickle.dumps(Payload(), 2)[2:-1], {}),
            "m.ckpt asks for posix.mkdir, which is no data and is never run",
        ),
        (lambda _: b"<html>no such file</html>", "m.ckpt is no file of weights"),
        (lambda _: b"", "m.ckpt is no file of weights"),
    ],
)
def test_files_that_are_no_checkpoint(capsys, place, make, message):
    content = make((place / "m.ckpt").read_bytes())
    (place / "m.ckpt").write_bytes(content)
    assert message in refused(capsys, "--checkpoint m.ckpt --config m.yaml -o model")
    assert not (place / "was_run").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "--checkpoint m.ckpt --config other.yaml -o model",
            "other.yaml is no VidTok configuration: it has the model omni.Engine",
        ),
        ("--checkpoint m.ckpt --config v1_1.yaml -o m.yaml", "m.yaml exists already; give a directory that does not"),
        ("--checkpoint m.ckpt --config non.yaml -o model", "lacks the tensor decoder.conv_in.bias, which this model needs"),
        ("--checkpoint m.ckpt --config broken.yaml -o model", "cannot read broken.yaml: it is no YAML"),
        ("--checkpoint m.ckpt --config none.yaml -o model", "No such file or directory: 'none.yaml'"),
        ("--checkpoint none.ckpt --config m.yaml -o model", "No such file or directory: 'none.ckpt'"),
        ("--to-torch none -o back.safetensors", "none is neither an export nor a training workdir"),
        ("--to-torch tiny -o back.pth", "cannot write back.pth: give a name that ends in .ckpt or .safetensors"),
        ("--to-torch tiny -o m.ckpt", "m.ckpt exists already; give a name that does not"),
        ("--to-diffusers tiny -o tiny", "tiny exists already; give a directory that does not"),
        ("--to-torch tiny --config m.yaml -o back.safetensors", "belong to --checkpoint"),
    ],
)
def test_wrong_places_and_configs(capsys, place, line, message):
    (place / "other.yaml").write_text("model:\n  target: omni.Engine\n")
    (place / "v1_1.yaml").write_text(published_yaml("causal_v1_1"))
    (place / "non.yaml").write_text(published_yaml("noncausal"))
    (place / "broken.yaml").write_text("model: [")
    write_tiny(place).rename(place / "tiny")
    assert message in refused(capsys, line)


def test_a_full_disk_leaves_nothing(capsys, place, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tokjax.conversion.converted.write", full)
    assert "No space left on device" in refused(capsys, "--checkpoint m.ckpt --config m.yaml -o model")


def test_pytorch_reads_what_is_written(capsys, place):
    torch = pytest.importorskip("torch", reason="writes and reads .ckpt files with PyTorch")
    state = published_state()
    done(capsys, "--checkpoint m.ckpt --config m.yaml -o model")
    done(capsys, "--to-torch model -o back.ckpt")
    back = torch.load("back.ckpt", weights_only=True)["state_dict"]
    assert back.keys() == state.keys() and all(np.array_equal(back[name].numpy(), state[name]) for name in state)
    handmade = torch.load("m.ckpt", weights_only=True)["state_dict"]  # the files of these tests are what PyTorch takes them for
    assert all(torch.equal(handmade[name], back[name]) for name in state)
