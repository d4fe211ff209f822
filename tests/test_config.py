"""Configuration: what is refused and in which words, single values from the command line, and JSON."""

import contextlib
import json

import pytest
from ml_collections import ConfigDict

from tokjax.config import ConfigError, defaults, from_json, stream, to_json, validate
from tokjax.defaults import MODELS
from tokjax.experiment import apply_overrides, load_experiment

ADVERSARIAL = {"discriminator.kind": "vidtok_2d", "loss.adversarial_weight": 0.1}


def a_config(**streams):
    config = defaults()
    for name, one in streams.items():
        config.data.train[name] = one
    return config


def set_values(config, values):
    for name, value in values.items():
        *sections, key = name.split(".")
        node = config
        for section in sections:
            node = node[section]
        with node.unlocked():
            node[key] = value
    return config


@pytest.mark.parametrize("family", MODELS)
def test_the_defaults_are_valid_and_each_key_of_them_is_needed(family):
    config = defaults(family)
    config.data.train.a, config.data.validation.b = stream("images", "x"), stream("videos", "y", frames=17)
    validate(config)
    paths = list(keys(config))
    assert len(paths) > 60 and ("data", "train", "a", "weight") in paths and ("model", "quantizer", "name") in paths
    for *sections, key in paths:
        lacking = ConfigDict(config.to_dict())
        node = lacking
        for section in sections:
            node = node[section]
        del node[key]
        with pytest.raises(ConfigError, match=rf"lacks the key {key}|config.model.family must be one of"):
            validate(lacking)


def keys(node, path=()):
    """Of all values that are not sections."""
    for key, value in node.items():
        yield from keys(value, (*path, key)) if isinstance(value, ConfigDict) else [(*path, key)]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"optimizer.learing_rate": 1.0}, r"unknown key config.optimizer.learing_rate; did you mean 'learning_rate'\?"),
        ({"modle": 1}, r"unknown key config.modle; did you mean 'model'\?"),
        ({"xyzzy": 1}, r"unknown key config.xyzzy$"),
        ({"model.channel_multipliers": (1,)}, "channel_multipliers needs at least 2 levels"),
        ({"model.spatial_down": (0, 1)}, "halves space at 2 levels but doubles it at 3"),
        ({"model.spatial_down": (0, 1, 7)}, r"spatial_down names level \[7\], but the model has the levels 0 to 3"),
        ({"model.time_factor": 8}, r"time_factor is 8, but time is halved at levels \(2, 1\) and doubled at \(1, 2\)"),
        ({"model.time_down": (3,)}, r"time is halved at levels \(\) and doubled at \(1, 2\) \(only levels that also halve"),
        ({"model.norm": "groupnorm", "model.channels": 40}, r"groupnorm has 32 groups, which do not divide the width \[40\]"),
        ({"model.quantizer.name": "fsq"}, "levels has 0 entries, but fsq needs one for each of the 4 latent channels"),
        ({"model.quantizer.name": "fsq", "model.quantizer.levels": (8, 8, 1, 8)}, "must be 2 or more each"),
        ({"model.quantizer.name": "fsq", "model.quantizer.levels": (256,) * 4}, "make 4,294,967,296 codes"),
        (
            {"model.family": "vidtk"},
            r"config.model.family must be one of vidtok, omnitokenizer, language_model, diffusion, not 'vidtk'; "
            r"did you mean 'vidtok'\?",
        ),
        ({"model.dtype": "float16"}, r"config.model.dtype must be one of float32, bfloat16, not 'float16'; did you mean"),
        ({"loss.reconstruction": "l3"}, "config.loss.reconstruction must be one of l1, l2, not 'l3'"),
        (
            {"optimizer.schedule": "cosin"},
            r"must be one of constant, cosine, omnitokenizer, not 'cosin'; did you mean 'cosine'\?",
        ),
        ({"training.steps": 0}, "config.training.steps must be at least 1, not 0"),
        ({"model.latent_channels": 0}, "config.model.latent_channels must be at least 1, not 0"),
        ({"data.bad_share": 1.5}, "config.data.bad_share is a share between 0 and 1, not 1.5"),
        ({"loss.adversarial_weight": 0.1}, "loss.adversarial_weight is 0.1, without a discriminator; set config.discriminator"),
        ({"loss.lecam_weight": 0.1}, "config.loss.lecam_weight is 0.1, without a discriminator"),
        ({"loss.adaptive": True}, "config.loss.adaptive balances a discriminator's loss, but config.discriminator.kind is empty"),
        ({"training.mode": "published"}, "mode='published' orders updates of discriminators; there are none"),
        ({"discriminator.kind": "vidtok_2d"}, "kind is 'vidtok_2d', but config.loss.adversarial_weight is 0, so nothing would l"),
        ({"discriminator.kind": "vidtok2d"}, r"must be one of vidtok_2d, .*, omni, or empty, not 'vidtok2d'; did you mean 'vid"),
        (ADVERSARIAL | {"loss.adaptive": True, "loss.feature_matching_weight": 1.0}, "adaptive balances the adversarial loss al"),
        (ADVERSARIAL | {"discriminator.norm": "group"}, "config.discriminator.norm must be batch for vidtok_2d"),
        (ADVERSARIAL | {"discriminator.augment": "colour"}, "augment has 'colour', but those there are: color, .*did you mean"),
        (ADVERSARIAL | {"training.mode": "published"}, "published' is OmniTokenizer's order of updates: it needs model.family="),
        ({"loss.perceptual_weight": 1.0}, r"weights_file is empty; name the file that `tokjax convert perceptual --vgg16 vgg16"),
        ({"discriminator_optimizer.learning_rate": 0.0}, "config.discriminator_optimizer.learning_rate must be above 0"),
        ({"optimizer": 3}, "config.optimizer must be a section with the keys b1, b2, "),
        ({"optimizer.learning_rate": 0.0}, "config.optimizer.learning_rate must be above 0 and finite, not 0.0"),
        ({"optimizer.learning_rate": -1e-3}, "config.optimizer.learning_rate must be above 0 and finite, not -0.001"),
        ({"optimizer.learning_rate": float("nan")}, "config.optimizer.learning_rate must be above 0 and finite, not nan"),
        ({"optimizer.learning_rate": float("inf")}, "config.optimizer.learning_rate must be above 0 and finite, not inf"),
        ({"optimizer.learning_rate": "1e-3"}, "config.optimizer.learning_rate must be a number, not '1e-3'"),
        ({"optimizer.learning_rate_min": 1.0}, "learning_rate_min is 1.0, which is above the learning_rate of 0.0001"),
        ({"optimizer.learning_rate_min": -1.0}, "config.optimizer.learning_rate_min must be 0 or more and finite, not -1.0"),
        ({"optimizer.warmup_steps": -1}, "config.optimizer.warmup_steps must be 0 or more and finite, not -1"),
        ({"optimizer.warmup_steps": 1.5}, "config.optimizer.warmup_steps must be a whole number, not 1.5"),
        ({"optimizer.eps": 0.0}, "config.optimizer.eps must be above 0"),
        ({"optimizer.b1": 1.0}, "config.optimizer.b1 must be 0 or more and below 1, not 1.0"),
        ({"optimizer.ema_decay": 1.0}, "config.optimizer.ema_decay must be 0 or more and below 1, not 1.0"),
        ({"optimizer.ema_decay": -0.1}, "config.optimizer.ema_decay must be 0 or more and below 1, not -0.1"),
        ({"optimizer.weight_decay": -0.1}, "config.optimizer.weight_decay must be 0 or more and finite, not -0.1"),
        ({"optimizer.freeze": "encoder"}, "config.optimizer.freeze must be a tuple of texts, not 'encoder'"),
        ({"optimizer.freeze": (1,)}, r"config.optimizer.freeze must be a tuple of texts, not \(1,\)"),
        ({"data.workers": -1}, "config.data.workers must be 0 or more and finite, not -1"),
        ({"loss.regularization_weight": -1.0}, "config.loss.regularization_weight must be 0 or more and finite, not -1.0"),
        ({"model.time_down": ("1",)}, r"config.model.time_down must be a tuple of whole numbers, not \('1',\)"),
        ({"model.channel_multipliers": (1, 2.5)}, r"channel_multipliers must be a tuple of whole numbers, not \(1, 2.5\)"),
        ({"model.remat": 1}, r"config.model.remat must be a truth value \(True or False\), not 1"),
        ({"seed": "x"}, "config.seed must be a whole number, not 'x'"),
        ({"name": 3}, "config.name must be a text, not 3"),
        ({"stages": 3}, "config.stages must be a section"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(values, sentence):
    config = ConfigDict(defaults().to_dict(), type_safe=False)
    with pytest.raises(ConfigError, match=sentence) as caught:
        validate(set_values(config, values))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "folders"}, "config.data.train.clips.kind must be one of images, videos, array_record, tfds, "),
        ({"crop": "center"}, "clips.crop must be one of random, centre, squash, random_area, not 'center'"),
        ({"frame_rule": "vidtk"}, "clips.frame_rule must be one of exact, vidtok, omnitokenizer, not 'vidtk'"),
        ({"batch": 0}, "clips needs frames and batch of at least 1 and a weight of 0 or more"),
        ({"weight": -0.1}, "clips needs frames and batch of at least 1 and a weight of 0 or more"),
        ({"weight": float("inf")}, "clips needs frames and batch of at least 1 and a weight of 0 or more"),
        ({"frames": 5}, "clips is a stream of images, so frames must be 1, not 5"),
        ({"kind": "videos", "frames": 16}, "clips.frames is 16, but this model gives back whole only clips of 1 more than a mul"),
        ({"resolution": 60}, "clips.resolution is 60, which the model's factor 8 does not divide"),
        ({"short_side": 32}, "clips.short_side is smaller than the crop of 64"),
        ({"stride": 2, "frame_rate": 8.0}, "clips has a stride of 2 beside a frame_rate or a published frame_rule; choose one"),
        ({"stride": 0}, "clips.stride must be at least 1, not 0"),
        ({"whole": True}, "clips.whole is for streams of config.data.validation only"),
        ({"crop_area": (0.9, 0.5)}, "clips.crop_area must be two shares such as"),
        ({"colour_jitter": 1.0}, "clips.colour_jitter must be 0 or more and below 1, not 1.0"),
        ({"short_clips": "loop"}, "clips.short_clips must be one of repeat, drop, not 'loop'"),
        ({"kind": "tfds", "split": ""}, "clips.split is empty, but a data set of tfds has splits such as 'train'"),
        ({"batch": 7}, "clips.batch is 7, which config.training.accumulation 2 does not divide"),
    ],
)
def test_streams_that_cannot_work(changes, sentence):
    config = a_config(clips=stream(changes.pop("kind", "images"), "x", **changes))
    config.training.accumulation = 2
    with pytest.raises(ConfigError, match=sentence):
        validate(config)


def test_choices_are_those_that_there_are():
    from tokjax.config import _CHOICES
    from tokjax.loss_checks import _AUGMENTATIONS
    from tokjax.losses import adversarial, augment, features
    from tokjax.models import discriminators

    assert _CHOICES["loss.adversarial"] == adversarial.KINDS and _AUGMENTATIONS == augment.POLICIES
    assert _CHOICES["discriminator.kind"] == ("", *discriminators.KINDS)
    assert _CHOICES["loss.perceptual_network"] == tuple(features.NETWORKS)


def test_frames_that_are_too_small_for_the_discriminator():
    config = set_values(a_config(clips=stream("images", "x", resolution=16)), ADVERSARIAL)
    with pytest.raises(ConfigError, match=r"clips.resolution is 16, but config.discriminator with 3 layers needs frames of at"):
        validate(config)
    config.discriminator.layers = 2
    config.data.train.clips.resolution = 16
    validate(config)


@pytest.mark.parametrize("divides", [{"train": "clips"}, {}])
def test_batches_of_validation_need_not_divide_but_those_of_training_do(divides):
    config = defaults()
    config.training.accumulation = 2
    config.data.validation.clips = stream("images", "x", batch=7)
    for split in divides:
        config.data[split].clips = stream("images", "x", batch=7)
    refused = pytest.raises(ConfigError, match=r"data.train.clips.batch is 7, which .* 2 does not divide") if divides else None
    with refused or contextlib.nullcontext():
        validate(config)


def test_keys_that_are_missing_or_unknown_in_a_stream():
    with pytest.raises(ConfigError, match=r"unknown key config.data.train.clips.frame_rat; did you mean 'frame_rate'\?"):
        validate(a_config(clips=stream("images", "x", frame_rat=3.0)))
    config = ConfigDict(defaults().to_dict())
    del config.optimizer["b2"]
    with pytest.raises(ConfigError, match=r"config.optimizer lacks the key b2; start from tokjax.config.defaults\(\)"):
        validate(config)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("optimizer.learning_rate=1e-3", "learning_rate", 1e-3),
        ("optimizer.learning_rate=1", "learning_rate", 1.0),
        ("optimizer.name=adamw", "name", "adamw"),
        ("training.steps=20", "steps", 20),
        ("model.remat=true", "remat", True),
        ("model.remat=False", "remat", False),
        ("model.channel_multipliers=(1,2)", "channel_multipliers", (1, 2)),
        ("model.time_down=[2]", "time_down", (2,)),
        ("model.quantizer.levels=8,8", "levels", (8, 8)),
        ("name=a=b", "name", "a=b"),
    ],
)
def test_single_values_take_the_type_of_the_default(text, key, value):
    config = defaults()
    apply_overrides(config, [f"--config.{text}"])
    *sections, _ = text.partition("=")[0].split(".")
    node = config
    for section in sections:
        node = node[section]
    assert node[key] == value and type(node[key]) is type(value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("--config.training.steps=1e3", "training.steps wants a value of type int, as in 1000; it got '1e3'"),
        ("--config.training.steps=true", "wants a value of type int"),
        ("--config.model.remat=1", "wants a value of type bool, as in False; it got '1'"),
        ("--config.optimizer.eps=small", "wants a value of type float, as in 1e-08; it got 'small'"),
        ("--config.model.time_down=2", r"wants a value of type tuple, as in \(\); it got '2'"),
        ("--config.optimiser.eps=1", r"unknown key 'optimiser' in --config.optimiser.eps; did you mean 'optimizer'\?"),
        ("--config.seed.more=1", "unknown key 'more' in --config.seed.more"),
        ("--config.model=vidtok", "model is a section, not a value; its keys are: .*family"),
        ("--config.seed", "cannot read the argument '--config.seed'"),
    ],
)
def test_single_values_that_cannot_be_set(text, sentence):
    config = defaults()
    with pytest.raises(ConfigError, match=sentence):
        apply_overrides(config, [text])
    assert config == defaults()


def test_json_gives_the_same_config_back():
    config = a_config(a=stream("videos", "x", frames=5))
    config.model.time_down = (2, 1)
    again = from_json(to_json(config))
    assert again.to_dict() == config.to_dict()
    assert again.model.time_down == (2, 1) and isinstance(again.model.spatial_down, tuple)
    validate(again)


def test_json_without_a_key_that_came_later_gets_its_default():
    config = a_config(a=stream("videos", "x", frames=5, weight=0.5))
    config.optimizer.learning_rate = 0.125
    old = json.loads(to_json(config))
    del old["optimizer"]["freeze"], old["data"]["train"]["a"]["flip"], old["stages"], old["mesh"]
    again = from_json(json.dumps(old))
    assert again.to_dict() == config.to_dict()
    old["optimizer"]["b3"] = 1.0
    with pytest.raises(ConfigError, match=r"unknown key config.optimizer.b3"):
        validate(from_json(json.dumps(old)))


@pytest.mark.parametrize(
    "text",
    ["{}", '{"model": 3}', '{"model": {"family": "vidtk"}}', '{"model": {"family": 3}, "data": 1}', '{"model": {"family": {}}}'],
)
def test_json_of_no_model_is_not_completed(text):
    with pytest.raises(ConfigError, match=r"config.model.family must be one of"):
        validate(from_json(text))


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_what_is_no_json_of_a_config(text):
    with pytest.raises(ConfigError, match="this is no configuration"):
        from_json(text)


def test_experiment_files(tmp_path):
    path = tmp_path / "some.py"
    with pytest.raises(ConfigError, match=r"no experiment file .*some.py; give a Python file that defines get_config"):
        load_experiment(str(path))
    path.write_text("x = 1\n")
    with pytest.raises(ConfigError, match=r"some.py defines no get_config\(variant\)"):
        load_experiment(str(path))
    path.write_text("VARIANTS = {'small': 1, 'large': 2}\ndef get_config(variant='small'):\n    return variant\n")
    assert load_experiment(str(path)) == "small" and load_experiment(f"{path}:large") == "large"
    with pytest.raises(ConfigError, match=r"no variant 'lage'; did you mean 'large'\?; it has: small, large"):
        load_experiment(f"{path}:lage")
