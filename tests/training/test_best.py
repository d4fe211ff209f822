import json

import pytest
from tiny_experiment import config_in, write_data

from tokjax.config import stream
from tokjax.errors import ConfigError
from tokjax.training import loop
from tokjax.training.best import Best
from tokjax.training.saved_steps import finished_steps


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("validation/videos/psnr", [20.0, 25.0, 24.0, 25.0], 1),
        ("validation/videos/lpips_vgg16", [0.5, 0.2, 0.3, 0.2], 1),
        ("validation/images/fid_torch", [9.0, float("nan"), 8.0, 8.5], 2),
        ("validation/codebook/usage", [float("nan"), 0.3, 0.2], 1),
    ],
)
def test_the_best_step_is_named(tmp_path, metric, values, best):
    found = Best(metric, tmp_path, leader=True, saved=range(9))
    for step, value in enumerate(values):
        if found.consider(step, {metric: value, "other": 1.0}):
            found.write()
    assert json.loads((tmp_path / "best.json").read_text()) == {"step": best, "metric": metric, "value": values[best]}
    again = Best(metric, tmp_path, leader=True, saved=range(9))
    assert again.step == best and not again.consider(9, {metric: values[best]})
    assert Best(metric, tmp_path, leader=True, saved=[7]).step is None  # its save was cut short
    assert Best("another", tmp_path, leader=True, saved=range(9)).step is None


def test_no_metric_and_one_that_does_not_exist(tmp_path):
    assert not Best("", tmp_path, leader=True, saved=range(9)).consider(1, {"a": 1.0})
    with pytest.raises(ConfigError, match=r"best_metric is 'validation/video/psnr'.*did you mean 'validation/videos/psnr'"):
        Best("validation/video/psnr", tmp_path, leader=True, saved=range(9)).consider(1, {"validation/videos/psnr": 1.0})
    other = Best("a", tmp_path, leader=False, saved=())
    assert other.consider(1, {"a": 1.0})
    other.write()
    assert not (tmp_path / "best.json").exists()


@pytest.mark.slow  # trains and evaluates, a few programs to compile
def test_a_run_keeps_its_best_checkpoint(tmp_path, monkeypatch):
    """The second evaluation was better than the third: its step stays beside the newest, the only one that is kept otherwise."""
    config = config_in(write_data(tmp_path / "data"), "codes")
    config.data.validation.images = stream(
        "images", config.data.train.images.path, batch=4, resolution=16, crop="centre", flip=False
    )
    config.training.update({"steps": 3, "evaluate_every": 1, "checkpoint_every": 1, "keep_checkpoints": 1})
    config.training.best_metric = "validation/images/psnr"
    scores = iter([30.0, 20.0, 25.0, 21.0])  # the first before training
    real = loop.validate_model

    def worse(*args, **how):
        result, pictures = real(*args, **how)
        result["streams"]["images"]["psnr"] = next(scores)
        return result, pictures

    monkeypatch.setattr(loop, "validate_model", worse)
    checkpoints, whole, write = tmp_path / "run" / "checkpoints", [], Best.write
    monkeypatch.setattr(Best, "write", lambda best: (whole.append(best.step in finished_steps(checkpoints)), write(best)))
    (tmp_path / "run").mkdir()
    assert loop.Run(config, tmp_path / "run").train() == loop.FINISHED
    assert json.loads((tmp_path / "run" / "best.json").read_text()) == {
        "step": 2,
        "metric": config.training.best_metric,
        "value": 25.0,
    }
    assert finished_steps(checkpoints) == [2, 3]
    assert whole == [True, True]  # a kill cannot leave the name of a checkpoint that is not there
