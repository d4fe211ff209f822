"""Whole runs with a discriminator: what is logged and saved, bitwise resumption, borders of stages, and fine-tuning."""

import shutil

import jax
import numpy as np
import pytest
from saved_runs import bits
from tiny_experiment import config_in, write_data
from training.test_staged_runs import train

from tokjax.config import ConfigError
from tokjax.conversion.checkpoint_files import write_state
from tokjax.conversion.discriminators import to_torch
from tokjax.conversion.kept_discriminators import KEPT
from tokjax.conversion.package import export, load
from tokjax.losses.weight_files import PerceptualError
from tokjax.training.checkpoints import read
from tokjax.training.loop import Run
from tokjax.training.saved_steps import finished_steps
from tokjax.training.telemetry import read_metrics

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("judged") / "data")


def a_config(data):
    config = config_in(data, "judged")
    config.training.keep_checkpoints = 20
    return config


@pytest.fixture(scope="module")
def judged(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    return workdir, train(a_config(data), workdir)


def begun(config, workdir):
    """The state of a run before its first step."""
    workdir.mkdir()
    run = Run(config, workdir)
    run.close()
    run._stop.restore()
    return run.state


def test_each_term_of_both_players_is_logged(judged):
    rows = [row for row in read_metrics(judged[0]) if "loss" in row]
    assert len(rows) == 9
    told = {"generator_image", "adaptive_weight", "log_variance", "discriminator_image", "discriminator_loss", "lecam_image"}
    told |= {"logits_real_image", "logits_fake_image", "accuracy_image", "discriminator_gradient_norm", "gradient_norm"}
    for row in rows:
        assert told < row.keys() and row["nonfinite"] == 0
        total = row["reconstruction"] * np.exp(-row["log_variance"]) + row["log_variance"]
        total += row["adaptive_weight"] * row["generator_image"] + 1e-6 * row["regularization"]
        np.testing.assert_allclose(row["loss"], total, rtol=1e-4)
    assert len({row["discriminator_loss"] for row in rows}) == 9


@pytest.mark.parametrize("step", [3])
def test_resuming_within_a_stage_and_going_over_borders_ends_bitwise_the_same(judged, data, tmp_path, step):
    workdir = shutil.copytree(judged[0], tmp_path / "run")
    for later in [saved for saved in finished_steps(workdir / "checkpoints") if saved > step]:
        shutil.rmtree(workdir / "checkpoints" / str(later))
    assert train(a_config(data), workdir) == judged[1][step:]
    for saved in (4, 8, 9):
        one, two = bits(workdir, saved), bits(judged[0], saved)
        assert one.keys() == two.keys() and [name for name in one if one[name] != two[name]] == []


def test_what_the_stages_take_over(judged, capsys):
    states = {step: bits(judged[0], step) for step in (4, 6, 8, 9)}
    learned = [name for name in states[4] if name.startswith(("discriminator/", "loss/"))]
    assert {name.split("/")[1] for name in learned} == {"params", "batch_stats", "averages", "optimizer", "log_variance"}
    changed = [name for name in learned if "count" not in name and states[6][name] == states[4][name]]
    assert not [name for name in changed if "averages" not in name]
    counts = {
        step: np.frombuffer(next(v for k, v in one.items() if k.endswith("discriminator/optimizer/1/0/count")), np.int32)
        for step, one in states.items()
    }
    assert {step: int(count[0]) for step, count in counts.items()} == {4: 4, 6: 6, 8: 8, 9: 1}


def test_fine_tuning_begins_with_the_weights_of_another_run(judged, data, tmp_path):
    export(judged[0], tmp_path / "model", 8)
    config = a_config(data)
    config.start_from, config.stages = str(tmp_path / "model"), {}
    state = begun(config, tmp_path / "run")
    expected = load(tmp_path / "model").variables
    jax.tree.map(np.testing.assert_array_equal, state.params, expected["params"])
    jax.tree.map(np.testing.assert_array_equal, state.ema, expected["params"])
    jax.tree.map(np.testing.assert_array_equal, state.model_state, {"codebook": expected["codebook"]})
    assert int(state.step) == 0


def test_fine_tuning_takes_kept_discriminators_too(judged, data, tmp_path):
    from tokjax.training.adversary import make_adversary

    export(judged[0], tmp_path / "model", 8)
    config = a_config(data)
    config.start_from, config.stages = str(tmp_path / "model"), {}
    module = make_adversary(config).module
    saved = read(judged[0] / "checkpoints", 8, ("discriminator",))[1]["discriminator"]
    kept = to_torch({"params": saved["params"], "batch_stats": saved["batch_stats"]}, module)
    write_state(tmp_path / "model" / KEPT, kept | {"loss.logvar": np.float32(0.25)})
    state = begun(config, tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, state.discriminator.params, saved["params"])
    jax.tree.map(np.testing.assert_array_equal, state.discriminator.batch_stats, saved["batch_stats"])
    assert float(state.loss["log_variance"]) == 0.25


def test_fine_tuning_of_another_model_is_refused(judged, data, tmp_path):
    export(judged[0], tmp_path / "model", 8)
    config = a_config(data)
    config.start_from, config.stages, config.model.width = str(tmp_path / "model"), {}, 32
    with pytest.raises(ConfigError, match=r"start_from: .*model holds another model: decoder/.* is \(.*\) there and"):
        begun(config, tmp_path / "run")


def test_a_missing_file_of_perceptual_weights_is_refused_before_the_first_step(data, tmp_path):
    config = a_config(data)
    config.loss.update({"perceptual_weight": 1.0, "perceptual_weights_file": str(tmp_path / "vgg.npz")})
    with pytest.raises(PerceptualError, match=r"no file of weights .*vgg.npz; make it with `tokjax con"):
        Run(config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()
