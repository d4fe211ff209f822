"""Configs from the original's .yaml files: those of the golden files, references, and files that describe something else."""

import json

import pytest
import yaml
from conftest import golden_files
from published_yaml import FAMILIES, published_yaml
from torch_weights import model_config, read_golden

from tokjax.config import ConfigError
from tokjax.conversion.vidtok_yaml import Document, config_from_yaml


def from_text(tmp_path, text):
    path = tmp_path / "vidtok_tiny.yaml"
    path.write_text(text)
    return config_from_yaml(path)


@pytest.mark.parametrize("causality", FAMILIES)
@pytest.mark.parametrize("quantizer", ["kl", "fsq"])
def test_every_family_and_quantizer(tmp_path, causality, quantizer):
    config = from_text(tmp_path, published_yaml(causality, quantizer))
    model = config.model
    assert (model.family, model.causality, model.quantizer.name) == ("vidtok", causality, quantizer)
    assert (model.channels, model.channel_multipliers, model.blocks_per_level) == (4, (1, 1), 1)
    assert (model.latent_channels, model.time_factor, model.norm, model.dtype) == (2, 2, "layernorm", "float32")
    assert model.quantizer["levels"] == ((5, 4) if quantizer == "fsq" else ())
    assert config.name == "vidtok_tiny"
    assert config.data.train.video.frames == {"causal": 17, "causal_v1_1": 33, "noncausal": 16}[causality]


def test_positions_of_the_resampling(tmp_path):
    more = "        spatial_ds: [1, 2]\n        spatial_us: [1, 3]\n        tempo_ds: [0]\n        tempo_us: [2]\n"
    model = from_text(tmp_path, published_yaml(more=more)).model
    assert (model.spatial_down, model.spatial_up, model.time_down, model.time_up) == ((1, 2), (1, 3), (0,), (2,))
    model = from_text(tmp_path, published_yaml("noncausal", more=more)).model  # its original has them fixed, whatever a file says
    assert (model.spatial_down, model.spatial_up, model.time_down, model.time_up) == ((), (), (), ())


def test_what_a_file_leaves_out_is_what_the_original_does(tmp_path):
    text = published_yaml(quantizer="fsq")
    text = "\n".join(line for line in text.splitlines() if "entropy" not in line and "commitment" not in line)
    quantizer = from_text(tmp_path, text).model.quantizer
    assert (quantizer.entropy_weight, quantizer.entropy_annealing_steps, quantizer.commitment_weight) == (0.0, 0, 0.0)
    assert from_text(tmp_path, published_yaml(quantizer="fsq")).model.quantizer.entropy_annealing_factor == 3.0


GOLDEN = [path for path in golden_files("vidtok/*causal*.npz") if "train" not in path.stem]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_golden_files_own_configs(tmp_path, path):
    _, meta = read_golden(path)
    text = yaml.safe_dump({"model": json.loads(json.dumps(meta["config"]))})
    ours, known = from_text(tmp_path, text).model, model_config(meta)
    keys = ("channels", "channel_multipliers", "blocks_per_level", "latent_channels", "time_factor", "norm")
    assert {key: ours[key] for key in keys} == {key: known[key] for key in keys}
    assert ours.quantizer.name == known.quantizer.name and ours.quantizer["levels"] == known.quantizer["levels"]
    assert ours.causality == ("noncausal" if "noncausal" in path.stem else "causal_v1_1" if "v1_1" in path.stem else "causal")


REFERENCES = """
a: {x: 1, y: "${.x}", z: "${..b.deep.v}", all: "${b}"}
b: {deep: {v: "${a.x}", near: "${.v}", word: "before ${a.x}"}, env: "${oc.env:HOME}"}
c: "${a}"
loop: "${pool}"
pool: "${loop}"
lost: "${a.nothing}"
"""


def test_references(tmp_path):
    (tmp_path / "r.yaml").write_text(REFERENCES)
    document = Document(tmp_path / "r.yaml")
    for path in ("a.y", "a.z", "b.deep.v", "b.deep.near", "a.all.deep.near", "c.z", "c.all.deep.v"):
        assert document.get(path) == 1, path
    assert document.get("a.q", "none") == "none" and document.get("a.x.y") is None
    assert document.get("b.deep.word") == "before ${a.x}" and document.get("b.env") == "${oc.env:HOME}"
    for path in ("loop", "lost"):
        with pytest.raises(ConfigError, match="which leads nowhere"):
            document.get(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "vidtok.models.autoencoder.Auto",
            "vidtwin.models.vidtwin_ae.Auto",
            "is no VidTok configuration: it has the model vidtwin",
        ),
        ("model_3dcausal.Decoder", "model_3dcausal_v1_1.Decoder", "is no VidTok configuration"),
        ("autoencoder.Auto", "autoencoder_v1_1.Auto", "is no VidTok configuration"),
        ("ch: 4\n", "ch: [4]\n", "ch is [4], but must be a whole number"),
        ("ch_mult: [1, 1]", "ch_mult: [1, two]", "ch_mult is [1, 'two'], but must be a list of whole numbers"),
        ("        num_res_blocks: 1\n", "", "the encoder's params lack the key num_res_blocks"),
        ("out_ch: 3", "out_ch: 4", "out_ch is 4, but only 3 is implemented"),
        ("replicate", "reflect", "init_pad_mode is 'reflect', but only 'replicate' is implemented"),
        ("double_z: true", "double_z: false", "double_z must be true for DiagonalGaussianRegularizer"),
        ("DiagonalGaussianRegularizer", "LFQ", "the regularizer is LFQ, but VidTok has"),
        ("${model.params.encoder_config.params}", "{ch: 8}", "encoder and decoder differ in ch"),
        ("${model.params.encoder_config.params}", "${model.params.encoder.params}", "which leads nowhere"),
    ],
)
def test_files_that_describe_something_else(tmp_path, old, new, message):
    text = published_yaml()
    assert text.count(old) == 1
    with pytest.raises(ConfigError) as refusal:
        from_text(tmp_path, text.replace(old, new))
    assert message in str(refusal.value) and str(tmp_path / "vidtok_tiny.yaml") in str(refusal.value)


def test_what_only_v1_1_and_fsq_can_have_wrong(tmp_path):
    for line in ("", "        interpolation_mode: nearest"):
        text = published_yaml("causal_v1_1").replace("        interpolation_mode: trilinear  # nearest, trilinear", line)
        with pytest.raises(ConfigError, match="interpolation_mode is 'nearest', but only 'trilinear' is implemented"):
            from_text(tmp_path, text)
    with pytest.raises(ConfigError, match="the regularizer's num_codebooks is not used by any published model"):
        from_text(tmp_path, published_yaml(quantizer="fsq").replace("levels: [5, 4]", "levels: [5, 4]\n        num_codebooks: 2"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"model: [1, 2", "it is no YAML"),
        (b"model: !!python/object/apply:os.system [ls]", "it is no YAML"),
        (b"\xff\xfe\x00", "it is no YAML"),
        (b"\x00" * 9, "it is no YAML"),
        (b"[" * 5000, "it is no YAML"),
        (b"- 1\n- 2\n", "is no VidTok configuration: it has no keys"),
        (b"model: 3\n", "is no VidTok configuration: it has the model None"),
    ],
)
def test_files_that_are_no_yaml(tmp_path, content, message):
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=message) as refusal:
        config_from_yaml(tmp_path / "x.yaml")
    assert "\n" not in str(refusal.value)
