"""Stages as data: what holds in each, which steps it takes, how it is named on the command line, and what is refused."""

import pytest
from ml_collections import ConfigDict
from tiny_experiment import get_config

from tokjax.config import ConfigError, defaults, from_json, stage, stages, stream, to_json, validate
from tokjax.experiment import apply_overrides
from tokjax.training.stages import stage_configs, stage_of, stages_of


def a_config():
    """Images first, then videos of two sizes, then a smaller learning rate with the optimizer kept."""
    config = defaults()
    config.data.train.images = stream("images", "i", resolution=64)
    config.data.train.videos = stream("videos", "v", frames=17, weight=0.0)
    config.training.steps = 7
    config.optimizer.learning_rate = 1e-3
    videos = {"images": {"resolution": 128, "weight": 0.25}, "videos": {"weight": 0.75}}
    config.stages = stages(
        stage("images", training={"steps": 10}),
        stage("joint", data={"train": videos}, optimizer={"freeze": ("encoder",)}, loss={"reconstruction": "l2"}),
        stage("slow", keep_optimizer=True, optimizer={"learning_rate": 1e-5, "freeze": ("encoder",)}),
    )
    return config


def test_each_stage_is_the_config_with_its_changes_and_no_others():
    config = a_config()
    validate(config)
    first, joint, slow = stage_configs(config)
    for one in (first, joint, slow):
        assert one.stages == ConfigDict() and one.model == config.model and one.mesh == config.mesh
    assert (first.training.steps, joint.training.steps, slow.training.steps) == (10, 7, 7)
    assert (joint.data.train.images.resolution, joint.data.train.images.weight, joint.data.train.videos.weight) == (
        128,
        0.25,
        0.75,
    )
    assert joint.data.train.images.path == "i" and first.data.train == config.data.train
    assert (joint.loss.reconstruction, slow.loss.reconstruction) == ("l2", "l1")
    assert (joint.optimizer.learning_rate, slow.optimizer.learning_rate) == (1e-3, 1e-5)
    assert config.to_dict() == a_config().to_dict()


def test_steps_are_counted_through_and_a_saved_step_is_of_the_stage_that_took_it():
    found = stages_of(a_config())
    assert [(one.name, one.begin, one.end, one.keep_optimizer) for one in found] == [
        *(("images", 0, 10, False), ("joint", 10, 17, False), ("slow", 17, 24, True)),
    ]
    expected = {0: 0, 1: 0, 10: 0, 11: 1, 17: 1, 18: 2, 24: 2, 99: 2}
    assert {step: stage_of(found, step).number for step in expected} == expected


def test_a_config_without_stages_is_one():
    config = defaults()
    (only,) = stages_of(config)
    assert only.config is config and (only.name, only.begin, only.end) == ("", 0, config.training.steps)
    assert only.data_seed == config.seed


def test_the_order_of_data_is_another_in_each_stage():
    config = a_config()
    seeds = [one.data_seed for one in stages_of(config)]
    assert seeds[0] == config.seed and len(set(seeds)) == 3
    assert seeds == [one.data_seed for one in stages_of(a_config())]
    config.seed = 1
    assert not set(seeds) & {one.data_seed for one in stages_of(config)}


def test_more_than_ten_stages_keep_their_order():
    config = defaults()
    config.stages = stages(*(stage(f"s{number}", training={"steps": number + 1}) for number in range(12)))
    validate(config)
    assert [one.name for one in stages_of(config)] == [f"s{number}" for number in range(12)]


def test_json_gives_the_same_stages_back():
    for config in (a_config(), get_config("staged")):
        again = from_json(to_json(config))
        assert again.to_dict() == config.to_dict()
        assert [one.config for one in stages_of(again)] == [one.config for one in stages_of(config)]
        assert stages_of(again)[1].config.optimizer.freeze == ("encoder",)
        validate(again)


@pytest.mark.parametrize(
    ("text", "number", "path", "value"),
    [
        ("stages.2.optimizer.learning_rate=2e-5", 2, "optimizer.learning_rate", 2e-5),
        ("stages.slow.optimizer.learning_rate=1", 2, "optimizer.learning_rate", 1.0),
        ("stages.images.optimizer.learning_rate=0.5", 0, "optimizer.learning_rate", 0.5),  # the stage had none of its own
        ("stages.0.training.steps=3", 0, "training.steps", 3),
        ("stages.1.data.train.videos.resolution=128", 1, "data.train.videos.resolution", 128),
        ("stages.0.optimizer.freeze=('decoder',)", 0, "optimizer.freeze", ("decoder",)),
        ("optimizer.b2=0.9", 1, "optimizer.b2", 0.9),  # of the whole config, so of each stage that does not say otherwise
    ],
)
def test_single_values_from_the_command_line(text, number, path, value):
    config, before = a_config(), stage_configs(a_config())
    apply_overrides(config, [f"--config.{text}"])
    validate(config)
    after = stage_configs(config)
    node = after[number]
    for key in path.split("."):
        node = node[key]
    assert node == value and type(node) is type(value)
    if text.startswith("stages"):
        assert [one == other for one, other in zip(after, before, strict=True)] == [other != number for other in range(3)]


def test_a_stages_own_keys_from_the_command_line():
    config = a_config()
    apply_overrides(config, ["--config.stages.slow.keep_optimizer=false", "--config.stages.1.fresh=('decoder/*',)"])
    assert not stages_of(config)[2].keep_optimizer and stages_of(config)[1].fresh == ("decoder/*",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("stages.3.training.steps=1", "unknown key '3' in --config.stages.3.training.steps"),
        ("stages.slwo.training.steps=1", "unknown key 'slwo'"),
        ("stages.1.training.stops=1", r"unknown key 'stops' in .*; did you mean 'steps'\?"),
        ("stages.1.training.steps=many", "wants a value of type int, as in 7; it got 'many'"),
        ("stages.1.training=1", "is a section, not a value"),
        ("stages.1.fresh=3", r"wants a value of type tuple, as in \(\); it got '3'"),
    ],
)
def test_single_values_that_cannot_be_set(text, sentence):
    config = a_config()
    with pytest.raises(ConfigError, match=sentence):
        apply_overrides(config, [f"--config.{text}"])
    assert config.to_dict() == a_config().to_dict()


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ([stage("a"), stage("a")], "each stage needs a name of its own; there are: 'a', 'a'"),
        ([stage("")], "each stage needs a name of its own; there are: ''"),
        (
            [stage("a", mesh={"fsdp": 2})],
            "unknown key config.stages.0.mesh.*; a stage may change model, data, loss, discriminator, optimizer, .*training$",
        ),
        ([stage("a", optimiser={})], r"unknown key config.stages.0.optimiser; did you mean 'optimizer'\?"),
        (
            [stage("a", optimizer={"learing_rate": 1.0})],
            r"stage 'a': unknown key config.optimizer.learing_rate; did you mean 'lea",
        ),
        ([stage("a", optimizer={"learning_rate": -1.0})], "stage 'a': config.optimizer.learning_rate must be above 0"),
        ([stage("a"), stage("b", training={"steps": 0})], "stage 'b': config.training.steps must be at least 1"),
        ([stage("a", training={"steps": "many"})], "stage 'a': config.training.steps must be a whole number, not 'many'"),
        (
            [stage("a", data={"train": {"vidoes": {}}})],
            r"unknown stream config.stages.0.data.train.vidoes; did you mean 'videos'\?",
        ),
        ([stage("a", data={"train": {"videos": {"frames": 16}}})], r"stage 'a': config.data.train.videos.frames is 16"),
        ([stage("a", training={"keep_checkpoints": 1})], "keep_checkpoints cannot differ between stages"),
        ([stage("a", optimizer=3)], "config.stages.0.optimizer must be a section, not 3"),
        ([stage("a", fresh="decoder")], "config.stages.0.fresh must be a value of type tuple, not 'decoder'"),
        ([stage("a", keep_optimizer=True)], "stage 'a' is the first, so keep_optimizer, fresh and inflate have nothing to work"),
        ([stage("a"), stage("b", fresh=("x",), keep_optimizer=True)], "stage 'b' cannot keep the optimizer of stage 'a'"),
        (
            [stage("a"), stage("b", keep_optimizer=True, model={"channels": 64})],
            "cannot keep the optimizer of stage 'a': its model",
        ),
        ([stage("a"), stage("b", keep_optimizer=True, optimizer={"freeze": ("x",)})], "cannot keep the optimizer"),
        ([stage("a"), stage("b", keep_optimizer=True, optimizer={"clip_norm": 0.0})], "cannot keep the optimizer"),
        ([stage("a"), stage("b", inflate="sound")], "stage 'b' has inflate, which works on an omnitokenizer"),
        ([stage("a"), stage("b", inflate="middle")], "inflate must be one of sound, average, first, or empty, not 'middle'"),
    ],
)
def test_stages_that_cannot_work(parts, sentence):
    config = a_config()
    config.stages = stages(*parts)
    with pytest.raises(ConfigError, match=sentence) as caught:
        validate(config)
    assert "\n" not in str(caught.value)


def test_a_section_that_is_no_list_of_stages():
    config = a_config()
    config.stages = ConfigDict({"first": stage("a")})
    with pytest.raises(ConfigError, match=r"config.stages has the keys first where 0, 1, ... belong; make the section with"):
        validate(config)
    config.stages = ConfigDict({"0": {"training": {"steps": 3}}})
    with pytest.raises(ConfigError, match=r"config.stages.0 is no stage; make it with tokjax.config.stage\(\)"):
        validate(config)
