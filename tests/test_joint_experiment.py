"""The rows of experiments/joint.py: valid in both stages, and drawing images and clips in turn at the sizes they say."""

import runpy

import numpy as np
import pytest

from tokjax.config import validate
from tokjax.data.pipeline import training_batches
from tokjax.data.records import Record
from tokjax.experiment import load_experiment
from tokjax.training.stages import stages_of

PUBLISHED = {
    "vidtok_kl": "vidtok.py:kl_causal_488_4chn",
    "vidtok_fsq": "vidtok.py:fsq_causal_488_32768",
    "omnitokenizer_vq": "omnitokenizer.py:joint_vq",
    "omnitokenizer_kl": "omnitokenizer.py:joint_kl",
}
SIZES = ((128,), (192, 256, 320))


@pytest.fixture(autouse=True)
def in_the_project(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)


@pytest.mark.parametrize("variant", PUBLISHED)
def test_each_row_is_valid_and_has_the_model_of_its_family(variant):
    config, row = (load_experiment(f"experiments/{name}") for name in (f"joint.py:{variant}", PUBLISHED[variant]))
    validate(config)
    assert config.model == row.model and config.loss == row.loss and config.optimizer == row.optimizer
    assert runpy.run_path("experiments/joint.py")["VARIANTS"] == PUBLISHED
    for stage, sides in zip(stages_of(config), SIZES, strict=True):
        drawn = [one for one in stage.config.data.train.values() if one.weight]
        shapes = {(one.frames, one.resolution, one.batch) for one in drawn}
        batches = {128: 64, 192: 32, 256: 16, 320: 8}
        assert shapes == {(1, side, 4 * batches[side]) for side in sides} | {(17, side, batches[side]) for side in sides}


class Endless:
    """A source of which nothing is read."""

    def __len__(self):
        return 9

    def fingerprint(self):
        return ""


def test_every_update_learns_from_images_and_from_clips(monkeypatch):
    nothing = Record("a", "video", b""), np.zeros((1, 1, 1, 3), np.uint8)
    monkeypatch.setattr("tokjax.data.clips.read_clip", lambda *_: nothing)
    for stage, sides in zip(stages_of(load_experiment("experiments/joint.py")), SIZES, strict=True):
        assert stage.config.training.batches_per_update == 2
        streams = {name: one for name, one in stage.config.data.train.to_dict().items() if one["weight"]}
        batches = training_batches(streams, seed=0, bad_share=0.1, open_with=lambda _: Endless())
        names = [next(batches).stream for _ in range(12)]
        batches.close()
        for begin in range(0, 12, 2):
            assert {name.partition("_")[2] for name in names[begin : begin + 2]} == {"image", "video"}, names
        assert set(names) == {f"px{side}_{kind}" for kind in ("image", "video") for side in sides}
