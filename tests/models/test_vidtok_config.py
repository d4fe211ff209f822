"""Settings of VidTok's families: which clips they give back whole, and what does not go together."""

import pytest

from tokjax.config import ConfigError, defaults, stream, validate


def a_config(causality, frames):
    config = defaults()
    config.model.causality = causality
    config.data.train.clips = stream("videos", "x", frames=frames)
    return config


@pytest.mark.parametrize(
    ("causality", "whole", "sentence"),
    [
        ("causal", {1, 5, 9}, "this model gives back whole only clips of 1 more than a multiple of 4 frames"),
        ("noncausal", {4, 8}, "this model gives back whole only clips of a multiple of 4 frames"),
        ("causal_v1_1", set(range(1, 10)), None),
    ],
)
def test_lengths_that_come_back_whole(causality, whole, sentence):
    for frames in range(1, 10):
        config = a_config(causality, frames)
        if frames in whole:
            validate(config)
        else:
            with pytest.raises(ConfigError, match=rf"clips.frames is {frames}, but {sentence}"):
                validate(config)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"causality": "noncasual"}, "model.causality must be one of .*not 'noncasual'; did you mean 'noncausal'"),
        ({"architecture": "no3d"}, "model.architecture must be one of .*not 'no3d'; did you mean 'no_3d'"),
        (
            {"architecture": "full_3d", "causality": "causal_v1_1"},
            "architecture 'full_3d' is an ablation of the causal model; it needs causality='causal', not 'causal_v1_1'",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(changes, sentence):
    config = defaults()
    config.model.update(changes)
    with pytest.raises(ConfigError, match=sentence):
        validate(config)
