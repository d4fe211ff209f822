"""What may change between two starts of a run, by the step that is saved."""

import pytest
from training.test_stages import a_config

from tokjax.config import ConfigError, defaults, from_json, stage, stages
from tokjax.experiment import apply_overrides
from tokjax.training.claim import claim_workdir


def a_workdir(folder, config, *saved):
    """With the config of a run, and checkpoints that look finished."""
    folder.mkdir(exist_ok=True)
    claim_workdir(config, folder, leader=True)
    for step in saved:
        (folder / "checkpoints" / str(step)).mkdir(parents=True)
        (folder / "checkpoints" / str(step) / "digests.json").write_text("{}")
    return folder


def changed(*texts):
    config = a_config()
    apply_overrides(config, [f"--config.{text}" for text in texts])
    return config


# The stages of `a_config` end at the steps 10, 17 and 24.
@pytest.mark.parametrize(
    ("saved", "text"),
    [
        (0, "optimizer.learning_rate=2.0"),  # nothing is saved yet
        (10, "stages.joint.optimizer.learning_rate=2.0"),
        (10, "stages.joint.training.steps=100"),
        (8, "stages.images.training.steps=8"),
        (10, "stages.images.training.steps=20"),
        (17, "stages.slow.optimizer.learning_rate=2.0"),
        (24, "stages.slow.training.steps=2"),
        (24, "stages.slow.training.steps=100"),
        (24, "mesh.fsdp=2"),
        (24, "stages.slow.training.log_every=3"),
        (24, "stages.slow.data.workers=3"),
    ],
)
def test_what_is_to_come_may_change(tmp_path, saved, text):
    folder = a_workdir(tmp_path, a_config(), *([saved] if saved else []))
    claim_workdir(changed(text), folder, leader=True)
    assert from_json((folder / "config.json").read_text()).to_dict() == changed(text).to_dict()


@pytest.mark.parametrize(
    ("saved", "text", "sentence"),
    [
        (3, "optimizer.learning_rate=2.0", "config.optimizer.learning_rate in stage 'images' is 0.001 there and 2.0 here"),
        (11, "stages.joint.optimizer.learning_rate=2.0", "config.optimizer.learning_rate in stage 'joint' is 0.001 there"),
        (24, "stages.images.loss.reconstruction=l2", "config.loss.reconstruction in stage 'images' is 'l1' there and 'l2' here"),
        (18, "stages.slow.keep_optimizer=false", "config.stages.2.keep_optimizer in stage 'slow' is True there and False here"),
        (11, "stages.joint.fresh=('a',)", r"config.stages.1.fresh in stage 'joint' is \(\) there"),
        (11, "stages.images.training.steps=11", "stage 'images' has taken 10 of its 10 steps, so that config.stages.0.training"),
        (9, "stages.images.training.steps=8", "stage 'images' has taken 9 of its 10 steps, so that .* cannot be 8"),
    ],
)
def test_what_has_been_computed_may_not(tmp_path, saved, text, sentence):
    folder = a_workdir(tmp_path, a_config(), saved)
    with pytest.raises(ConfigError, match=sentence):
        claim_workdir(changed(text), folder, leader=True)
    assert from_json((folder / "config.json").read_text()).to_dict() == a_config().to_dict()


def test_stages_may_be_added_to_a_run_and_begun_ones_not_taken_away(tmp_path):
    plain = defaults()
    plain.training.steps = 10
    longer = defaults()
    longer.stages = stages(stage("first", training={"steps": 10}), stage("second", optimizer={"learning_rate": 1e-5}))
    folder = a_workdir(tmp_path / "one", plain, 10)
    claim_workdir(longer, folder, leader=True)
    assert from_json((folder / "config.json").read_text()).stages["1"].name == "second"
    folder = a_workdir(tmp_path / "two", longer, 11)
    with pytest.raises(ConfigError, match="holds a run that has begun stage 'second', which this config has not"):
        claim_workdir(plain, folder, leader=True)


def test_other_processes_write_nothing(tmp_path):
    claim_workdir(a_config(), tmp_path, leader=False)
    assert list(tmp_path.iterdir()) == []
