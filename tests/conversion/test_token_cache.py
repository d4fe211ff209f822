"""Caches of tokens: a killed start goes on, latents that are not finite, labels and their names, and damage."""

import json

import numpy as np
import pytest
import tiny_experiment
from tiny_generators import config_of
from tiny_tokenizer import tiny_tokenizer, write_tiny

from tokjax.config import stream
from tokjax.conversion import token_cache
from tokjax.data.records import BadRecord, DataError, Record
from tokjax.data.sources import open_source
from tokjax.data.tokens import read_about, token_record, tokens_of
from tokjax.errors import ConfigError
from tokjax.generation.families import build
from tokjax.generation.sources_of_tokens import tokenizer_of


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images in the folders `a` and `b`."""
    folder = tiny_experiment.write_data(tmp_path_factory.mktemp("data")) / "images"
    for number, path in enumerate(sorted(folder.glob("*.jpg"))):
        (folder / "ab"[number % 2]).mkdir(exist_ok=True)
        path.rename(folder / "ab"[number % 2] / path.name)
    return folder


def images(data):
    return stream("images", str(data), resolution=16, batch=4, crop="centre", flip=False).to_dict()


def tokens_in(cache):
    source = open_source(stream("tokens", str(cache)).to_dict())
    return {source.record(number).id: tokens_of(source.record(number)) for number in range(len(source))}


def test_a_start_that_was_killed_goes_on(data, tmp_path, monkeypatch):
    tokenizer, made = tiny_tokenizer("kl"), []
    encoded = token_cache._encoded

    def dies(*arguments):
        made.append(len(made))
        if len(made) == 3:
            raise KeyboardInterrupt
        return encoded(*arguments)

    monkeypatch.setattr(token_cache, "_encoded", dies)
    with pytest.raises(KeyboardInterrupt):
        token_cache.encode_data(tokenizer, images(data), tmp_path / "cache", shards=3)
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(token_cache, "_encoded", lambda *arguments: made.append("again") or encoded(*arguments))
    about = token_cache.encode_data(tokenizer, images(data), tmp_path / "cache", shards=3)
    assert made == [0, 1, 2, "again"]  # 4 images a shard: the first two were finished
    monkeypatch.setattr(token_cache, "_encoded", encoded)
    whole = token_cache.encode_data(tokenizer, images(data), tmp_path / "whole", shards=1)
    assert (about.records, about.classes, about.names) == (12, 2, ("a", "b")) == (whole.records, whole.classes, whole.names)
    np.testing.assert_allclose(about.deviation, whole.deviation, rtol=1e-9)
    one, other = tokens_in(tmp_path / "cache"), tokens_in(tmp_path / "whole")
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_classes_of_a_cache_and_of_a_model(data, tmp_path):
    token_cache.encode_data(tiny_tokenizer("fsq"), images(data), tmp_path / "cache", shards=1)
    source = open_source(stream("tokens", str(tmp_path / "cache")).to_dict())
    assert [source.record(number).label for number in (0, 6)] == [0, 1]
    config = config_of("language_model", grid=(1, 8, 8), classes=1)
    config.data.train.tokens = stream("tokens", str(tmp_path / "cache"))
    with pytest.raises(ConfigError, match=r"has 2 classes, but config.model.classes is 1"):
        tokenizer_of(config, build(config.model))
    config.model.classes = 2
    assert tokenizer_of(config, build(config.model)) == (None, read_about(str(tmp_path / "cache")).tokenizer)


def test_latents_that_are_not_finite():
    record = token_record("x", np.full((1, 2, 2, 3), np.nan, np.float32), None)
    with pytest.raises(BadRecord, match="not finite"):
        tokens_of(record)
    with pytest.raises(BadRecord, match="holds no tokens"):
        tokens_of(Record("x", "tokens", b"nothing"))


def test_a_cache_that_lost_a_shard(data, tmp_path):
    token_cache.encode_data(tiny_tokenizer("fsq"), images(data), tmp_path / "cache", shards=2)
    next((tmp_path / "cache").glob("*.array_record")).unlink()
    with pytest.raises(DataError, match="is damaged: it has 6 of 12 records"):
        open_source(stream("tokens", str(tmp_path / "cache")).to_dict())
    (tmp_path / "cache" / "tokens.json").write_text(json.dumps({"tokenizer": "x"}))
    with pytest.raises(DataError, match=r"tokens.json is damaged or of another version"):
        open_source(stream("tokens", str(tmp_path / "cache")).to_dict())


def test_more_shards_than_records(data, tmp_path):
    with pytest.raises(DataError, match="12 records cannot be put into 13 shards"):
        token_cache.encode_data(tiny_tokenizer("fsq"), images(data), tmp_path / "cache", shards=13)


def test_clips_that_the_tokenizer_at_work_would_pad(tmp_path):
    folder = write_tiny(tmp_path, "fsq")
    config = config_of("language_model", grid=(1, 8, 8))
    config.data.tokenizer = str(folder)
    config.data.train.clips = stream("videos", "nowhere", frames=4, resolution=16)
    with pytest.raises(ConfigError, match="clips of 4 frames, 16x16, which this tokenizer pads to 5, 16x16"):
        tokenizer_of(config, build(config.model))
