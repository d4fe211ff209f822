"""The data of a run: sources are opened once, order follows (seed, stage, step in the stage), changed data is refused."""

import logging
import shutil

import pytest
from tiny_experiment import config_in, write_data

from tokjax.config import ConfigError, stage, stages
from tokjax.data import sources
from tokjax.data.pipeline import training_batches
from tokjax.data.sources import DataError
from tokjax.training.feed import Feed
from tokjax.training.stages import stages_of


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("feed") / "data")


def staged(folder, **second):
    config = config_in(folder, "stills")
    config.training.steps = 4
    config.data.validation.images = config.data.train.images.copy_and_resolve_references()
    config.stages = stages(stage("first"), stage("second", **second), stage("third"))
    return stages_of(config)


def drawn(batches, count):
    seen = [(batch.stream, batch.ids) for batch in (next(batches) for _ in range(count))]
    batches.close()
    return seen


def test_each_source_is_opened_once_for_all_stages_and_scores(data, monkeypatch):
    opened, real = [], sources.open_source
    monkeypatch.setattr(sources, "open_source", lambda stream: opened.append(stream["path"]) or real(stream))
    listed = staged(data)
    feed = Feed(listed)
    for one in listed:
        feed.batches(one, one.begin).close()
    feed.open(listed[0].config.data.validation.images.to_dict())
    assert sorted(opened) == [str(data / "images"), str(data / "videos")]


def test_a_stage_continues_where_its_step_says(data):
    one, two, three = staged(data)
    feed = Feed((one, two, three))
    assert drawn(feed.batches(two, 6), 2) == drawn(feed.batches(two, 4), 4)[2:]
    firsts = [drawn(feed.batches(one_of, one_of.begin), 4) for one_of in (one, two, three)]
    assert firsts[0] != firsts[1] != firsts[2] != firsts[0]
    config = one.config
    plain = training_batches(config.data.train.to_dict(), seed=config.seed, bad_share=1.0)
    assert drawn(plain, 4) == firsts[0]  # the first stage is as a run without stages


def test_a_stream_of_weight_zero_is_neither_opened_nor_drawn(data):
    listed = staged(data, data={"train": {"frames": {"weight": 0.0}}})
    for one in listed:
        one.config.data.train.frames.weight = 0.0
        one.config.data.train.frames.path = str(data / "nowhere")
    assert {name for name, _ in drawn(Feed(listed).batches(listed[0], 0), 6)} == {"images"}
    for one in listed:
        one.config.data.train.images.weight = 0.0
    with pytest.raises(ConfigError, match=r"config.data.train has no stream to draw from in stage 'first'; add one with"):
        Feed(listed)


def test_a_path_of_a_later_stage_is_looked_for_at_once(data):
    with pytest.raises(DataError, match="nowhere does not exist"):
        Feed(staged(data, data={"train": {"images": {"path": str(data / "nowhere")}}}))


def test_data_that_changed_is_refused_in_each_stage_that_reads_it_unless_accepted(data, tmp_path, caplog):
    folder = shutil.copytree(data, tmp_path / "data")
    elsewhere = shutil.copytree(data / "images", tmp_path / "other")
    (elsewhere / "00.jpg").unlink()
    listed = staged(folder, data={"train": {"images": {"path": str(elsewhere)}}})
    feed = Feed(listed)
    for one in listed:
        feed.batches(one, one.begin).close()  # another folder in a stage is no change
    assert feed.fingerprints.keys() == {"images", "frames", "second/images"}
    saved, before = dict(feed.fingerprints), dict(feed.fingerprints)
    (folder / "images" / "00.jpg").unlink()
    again = Feed(listed)
    again.fingerprints = saved
    again.batches(listed[1], 4).close()
    with pytest.raises(DataError, match="the data of stream 'images' is not what this run was started with"):
        again.batches(listed[2], 8)
    with caplog.at_level(logging.WARNING):
        accepting = Feed(listed, accept_change=True)
        accepting.fingerprints = saved
        accepting.batches(listed[2], 8).close()
    assert "the data of stream 'images' is not what this run was started with, and is accepted" in caplog.text
    assert accepting.fingerprints["images"] != before["images"]
