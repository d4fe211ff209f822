"""Data sets of TensorFlow Datasets: read without TensorFlow, built with it; what is missing is said in a sentence."""

import importlib.util
import io
import json
import pickle

import numpy as np
import pytest
from clips import a_stream, encoded_image

from tokjax.cli import main
from tokjax.data import tfds_source
from tokjax.data.pipeline import training_batches
from tokjax.data.records import DataError, Record
from tokjax.data.sources import open_source

COUNT = 6


class Info:
    """What is used of a builder, for what cannot be made without TensorFlow."""

    full_name = "films/1.0.0"

    def __init__(self, feature):
        self.info, self.features = self, {feature: None, "label": None}
        self.splits = {"train": self}
        self.num_bytes = 1000


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A set of images with classes and file names, stored as ArrayRecord."""
    tfds = pytest.importorskip("tensorflow_datasets")
    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=3), "file_name": tfds.features.Text()}
    )

    class Pictures(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for number in range(COUNT):
                picture = io.BytesIO(encoded_image((40 * number, 0, 9)))
                yield number, {"image": picture, "label": number % 3, "file_name": f"n{number}.png"}

    builder = Pictures(data_dir=tmp_path_factory.mktemp("tfds"), file_format="array_record")
    builder.download_and_prepare()
    return str(builder.data_dir)


def test_records_are_the_encoded_files_with_labels(built):
    source = open_source(a_stream("tfds", built))
    records = sorted((source.record(index) for index in range(COUNT)), key=lambda record: record.id)
    assert len(source) == COUNT and [record.id for record in records] == [f"n{number}.png" for number in range(COUNT)]
    assert [record.label for record in records] == [0, 1, 2, 0, 1, 2]
    assert open_source(a_stream("tfds", built, split="train[:3]")).size() == source.size() // 2 > 0
    assert all(record.kind == "image" and record.media.startswith(b"\x89PNG") for record in records)
    assert (
        source.fingerprint()
        == open_source(a_stream("tfds", built)).fingerprint()
        != open_source(a_stream("tfds", built, split="train[:3]")).fingerprint()
    )


def test_a_worker_opens_its_own(built):
    source = open_source(a_stream("tfds", built))
    sent = pickle.dumps(source)
    assert len(sent) < 1000 and pickle.loads(sent).record(4) == source.record(4)


def test_a_stream_reads_them(built):
    batches = training_batches({"s": a_stream("tfds", built, batch=3)}, seed=0, bad_share=0.1)
    for _ in range(3):
        batch = next(batches)
        for name, label, clip in zip(batch.ids, batch.labels, batch.video, strict=True):
            assert (clip == (40 * int(name[1]), 0, 9)).all() and label == int(name[1]) % 3
    batches.close()


def test_prepare_packs_a_set_that_is_built(built, tmp_path, capsys):
    assert main(["prepare", "tfds", built, "--output", str(tmp_path / "out"), "--workers", "1"]) == 0
    assert f"wrote {COUNT} records" in capsys.readouterr().out
    source = open_source(a_stream("array_record", tmp_path / "out"))
    assert sorted((source.record(index).id, source.record(index).label) for index in range(COUNT))[4] == ("n4.png", 1)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["source"]["kind"] == "tfds" and manifest["source"]["split"] == "train"


def test_splits_and_places_that_do_not_exist(built, tmp_path):
    with pytest.raises(DataError, match=r"has no split 'test'; it has train"):
        open_source(a_stream("tfds", built, split="test"))
    with pytest.raises(DataError, match=r"is no data set of tfds; give the folder of its version"):
        open_source(a_stream("tfds", tmp_path))
    with pytest.raises(DataError, match="names no split"):
        open_source(a_stream("tfds", built, split=""))


def test_without_tensorflow_building_is_refused_in_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["prepare", "tfds", "imagenet2012", "--output", str(tmp_path / "out")]) == 1
    err = capsys.readouterr().err
    assert 'building imagenet2012 needs TensorFlow: pip install "tokjax[tfds]"' in err and len(err.splitlines()) == 1


def test_videos_of_tfds_become_h264(monkeypatch):
    rng = np.random.default_rng(0)
    frames = np.kron(rng.integers(30, 220, (5, 4, 6, 3), np.uint8), np.ones((1, 8, 8, 1), np.uint8))
    source = tfds_source.TfdsSource.__new__(tfds_source.TfdsSource)
    source.__dict__ |= {"directory": "films", "split": "train", "_builder": Info("video")}
    source.__dict__ |= {"_examples": [{"video": frames, "label": 2}]}
    record = source.record(0)
    assert isinstance(record, Record) and (record.id, record.kind, record.label) == ("train/00000000", "video", 2)
    from tokjax.data.decode import decode, frame_times

    assert np.abs(decode(record, lambda times: range(5)).astype(int) - frames).mean() < 6
    np.testing.assert_allclose(frame_times(record), np.arange(5) / 25, atol=1e-4)


def test_a_set_of_neither_images_nor_videos_is_refused(monkeypatch):
    monkeypatch.setattr(tfds_source.TfdsSource, "_builder", Info("text"))
    with pytest.raises(DataError, match="has neither a feature `image` nor `video`"):
        tfds_source.TfdsSource("somewhere", "train")
