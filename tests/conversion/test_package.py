"""Exports: what is written is what is loaded, bit for bit, and a directory appears whole or not at all."""

import json
import re

import jax
import numpy as np
import pytest
from tiny_tokenizer import tiny_config, tiny_tokenizer, write_tiny

import tokjax
from tokjax.config import from_json
from tokjax.conversion.package import PackageError, digest, export, load_with_step, write
from tokjax.models.tokenizer import Tokenizer


def assert_same_weights(one, other):
    jax.tree.map(np.testing.assert_array_equal, one.variables, other.variables)
    assert jax.tree.structure(one.variables) == jax.tree.structure(other.variables)


@pytest.mark.parametrize("kind", ["kl", "fsq"])
def test_a_written_tokenizer_comes_back_bit_for_bit(tmp_path, kind):
    tokenizer, path = tiny_tokenizer(kind), write_tiny(tmp_path, kind)
    again, step = load_with_step(path)
    assert step == 7
    assert_same_weights(again, tokenizer)
    assert again.config.to_dict() == tokenizer.config.to_dict() and again.module == tokenizer.module
    video = np.random.default_rng(0).integers(0, 256, (1, 3, 6, 6, 3), np.uint8)
    np.testing.assert_array_equal(again.encode(video).latents, tokenizer.encode(video).latents)
    np.testing.assert_array_equal(again.reconstruct(video), tokenizer.reconstruct(video))
    assert digest(again) == digest(tokenizer)
    assert_same_weights(tokjax.load(str(path)), tokenizer)


def test_an_export_holds_config_weights_and_card(tmp_path):
    path = write_tiny(tmp_path, "fsq")
    assert sorted(entry.name for entry in path.iterdir()) == ["README.md", "checkpoints", "config.json"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["fsq_0"]
    assert from_json((path / "config.json").read_text()).to_dict() == tiny_config("fsq").to_dict()
    json.loads((path / "config.json").read_text())


def test_the_card_says_what_the_weights_are(tmp_path):
    count = sum(np.size(leaf) for leaf in jax.tree.leaves(tiny_tokenizer("fsq").variables))
    card = (write_tiny(tmp_path, "fsq") / "README.md").read_text()
    rows = dict(re.findall(r"^\| (\w+) \| (.+) \|$", card, re.MULTILINE))
    assert card.startswith("# tiny fsq\n") and rows["parameters"] == f"{count:,}"
    assert rows["latents"] == "2 channels for 2x2x2 pixels" and rows["codes"] == "20 (FSQ (5, 4))"
    assert (rows["step"], rows["source"], rows["tokjax"]) == ("7", "a test", tokjax.__version__)
    continuous = (write_tiny(tmp_path, "kl") / "README.md").read_text()
    assert "none, latents are continuous (KL)" in continuous


def test_the_moving_average_is_what_an_export_keeps(tmp_path):
    """A config that keeps an average names it; the export holds one set of weights under `params`."""
    tokenizer = tiny_tokenizer()
    config = tiny_config()
    config.optimizer.ema_decay = 0.9
    write(Tokenizer(tokenizer.module, tokenizer.variables, config), tmp_path / "model", 3, "a test")
    assert tokjax.load(tmp_path / "model").config.optimizer.ema_decay == 0
    assert config.optimizer.ema_decay == 0.9
    assert_same_weights(tokjax.load(tmp_path / "model"), tokenizer)


def test_what_exists_is_left_alone(tmp_path):
    path = write_tiny(tmp_path)
    (tmp_path / "taken").mkdir()
    with pytest.raises(PackageError, match="taken exists already; give a directory that does not"):
        export(path, tmp_path / "taken")
    assert not any((tmp_path / "taken").iterdir())


def test_remains_of_a_killed_export_do_not_matter(tmp_path):
    (tmp_path / ".kl_0.partial" / "checkpoints" / "7").mkdir(parents=True)
    (tmp_path / ".kl_0.partial" / "checkpoints" / "7" / "digests.json").write_text("{}")
    assert_same_weights(tokjax.load(write_tiny(tmp_path)), tiny_tokenizer())
    assert [entry.name for entry in tmp_path.iterdir()] == ["kl_0"]


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tokjax.conversion.package.write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        write_tiny(tmp_path)
    assert not list(tmp_path.iterdir())


def test_directories_that_are_no_tokenizer(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(PackageError, match=r"is neither an export nor a training workdir: it has no config.json"):
            tokjax.load(path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(PackageError, match=r"is damaged or of another version of tokjax: config.model.family must be"):
        tokjax.load(tmp_path)


def test_a_key_that_came_later_takes_its_default_and_changes_no_digest(tmp_path):
    path = write_tiny(tmp_path, "fsq")
    before = digest(tokjax.load(path))
    old = json.loads((path / "config.json").read_text())
    for section, key in ((old["model"], "remat"), (old["model"]["quantizer"], "num_codebooks"), (old, "stages")):
        del section[key]
    del old["data"]["train"]["videos"]["weight"]
    (path / "config.json").write_text(json.dumps(old))
    again = tokjax.load(path)
    assert again.config.to_dict() == tiny_config("fsq").to_dict()
    assert_same_weights(again, tiny_tokenizer("fsq"))
    assert digest(again) == before
    old["model"]["chanels"] = 3
    (path / "config.json").write_text(json.dumps(old))
    with pytest.raises(PackageError, match=r"unknown key config.model.chanels; did you mean 'channels'\?"):
        tokjax.load(path)


def test_a_damaged_export_is_named_without_a_word_about_training(tmp_path):
    path = write_tiny(tmp_path)
    victim = path / "checkpoints" / "7" / "state" / "manifest.ocdbt"
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises(RuntimeError, match=r"step 7: state/manifest.ocdbt has \d+ bytes.*bring one back from a copy$") as caught:
        tokjax.load(path)
    assert "workdir" not in str(caught.value) and "begin anew" not in str(caught.value)


def test_digests_tell_models_apart():
    digests = {digest(tiny_tokenizer(*which)) for which in (("kl", 0), ("kl", 1), ("fsq", 0), ("fsq", 1))}
    assert len(digests) == 4
