"""Whole runs in this process, on a few small pictures and clips: what they write, how they resume, what they refuse."""

import json
import logging
import shutil

import numpy as np
import pytest
from tiny_experiment import IMAGES, config_in, write_data
from training.test_telemetry import events, frames

from tokjax.config import ConfigError, from_json
from tokjax.data.sources import DataError
from tokjax.training.loop import FINISHED, Run, TrainingError
from tokjax.training.saved_steps import finished_steps
from tokjax.training.telemetry import read_metrics
from tokjax.training.workdir import lock_workdir


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("loop") / "data")


def train(config, workdir):
    """Exit code, and the (stream, ids) of each step."""
    with lock_workdir(workdir):
        run = Run(config, workdir)
        draw, seen = type(run.batches).__next__, []

        class Watched(type(run.batches)):
            def __next__(self):
                batch = draw(self)
                seen.append((batch.stream, batch.ids))
                return batch

        run.batches.__class__ = Watched
        return run.train(), seen


@pytest.fixture(scope="module")
def joint(data, tmp_path_factory):
    """A run on images and clips with a validation in the middle."""
    workdir = tmp_path_factory.mktemp("joint")
    config = config_in(data)
    config.training.update({"steps": 60, "log_every": 2, "evaluate_every": 30, "checkpoint_every": 30})
    code, seen = train(config, workdir)
    assert code == FINISHED
    return workdir, seen


def test_losses_fall_and_held_out_clips_are_rebuilt_better(joint):
    rows = read_metrics(joint[0])
    losses = [row["loss"] for row in rows if "loss" in row]
    assert np.mean(losses[-8:]) < 0.85 * np.mean(losses[:3])
    quality = {row["step"]: row["validation/videos/psnr"] for row in rows if "validation/videos/psnr" in row}
    assert sorted(quality) == [0, 30, 60]
    assert quality[60] > quality[0] + 2


def test_each_logged_step_is_a_row(joint):
    workdir, seen = joint
    rows = [row for row in read_metrics(workdir) if "loss" in row]
    assert [row["step"] for row in rows] == list(range(2, 61, 2))
    for row in rows:
        assert {"psnr", "reconstruction", "regularization", "kl", "gradient_norm", "nonfinite", "data_wait"} < row.keys()
        assert 0 <= row["queue_depth"] <= 2 and row["bad_records"] == 0
        np.testing.assert_allclose(row["loss"], row["reconstruction"] + 1e-6 * row["regularization"], rtol=1e-6)
    assert {stream for stream, _ in seen} == {"images", "videos"} and len(seen) == 60


def test_tensorboard_has_the_scalars_and_the_held_out_clips_as_gifs(joint):
    found = events(joint[0])
    rows = {row["step"]: row["loss"] for row in read_metrics(joint[0]) if "loss" in row}
    losses = {step: value.simple_value for step, value in found if value.tag == "loss"}
    np.testing.assert_allclose([losses[step] for step in rows], list(rows.values()), rtol=1e-6)
    gifs = [(step, frames(value.image.encoded_image_string)) for step, value in found if value.HasField("image")]
    assert sorted({step for step, _ in gifs}) == [0, 30, 60]
    assert {clip.shape for _, clip in gifs} == {(3, 16, 32, 3)}  # original beside reconstruction


@pytest.fixture(scope="module")
def short(data, tmp_path_factory):
    """Six steps without validation, saved after three of them."""
    workdir = tmp_path_factory.mktemp("short")
    config = config_in(data, "mixed")
    config.training.steps = 6
    _, seen = train(config, workdir)
    return workdir, config, seen


def copied(short, tmp_path, steps=(3, 6)):
    """The run's workdir with these checkpoints only, and its config."""
    workdir = shutil.copytree(short[0], tmp_path / "run")
    for step in set(finished_steps(workdir / "checkpoints")) - set(steps):
        shutil.rmtree(workdir / "checkpoints" / str(step))
    return workdir, short[1].copy_and_resolve_references()


@pytest.mark.slow
def test_a_resumed_run_sees_the_batches_that_follow_and_gets_the_same_losses(short, tmp_path):
    workdir, config = copied(short, tmp_path, steps=(3,))
    code, seen = train(config, workdir)
    assert (code, seen) == (FINISHED, short[2][3:])
    assert [(row["step"], row["loss"]) for row in read_metrics(workdir)] == [
        (row["step"], row["loss"]) for row in read_metrics(short[0])
    ]


def test_a_finished_run_has_nothing_left_to_do(short, tmp_path, capsys):
    workdir, config = copied(short, tmp_path)
    before = read_metrics(workdir)
    assert train(config, workdir) == (FINISHED, [])
    assert read_metrics(workdir) == before
    assert capsys.readouterr().out.endswith("finished at step 6\n")


@pytest.mark.parametrize(
    ("key", "value", "there"),
    [("optimizer.learning_rate", 0.25, "0.01"), ("model.temporal_depth", 2, "1"), ("seed", 7, "0")],
)
def test_another_config_in_the_workdir_is_refused(short, tmp_path, key, value, there):
    workdir, config = copied(short, tmp_path)
    *sections, name = key.split(".")
    node = config
    for section in sections:
        node = node[section]
    node[name] = value
    with pytest.raises(
        ConfigError, match=f"{workdir} holds a run with another config: config.{key} is {there} there and {value} here"
    ):
        Run(config, workdir)
    assert from_json((workdir / "config.json").read_text()).to_dict() == short[1].to_dict()


@pytest.mark.slow
def test_how_long_and_with_how_many_workers_a_run_goes_may_change(short, tmp_path):
    workdir, config = copied(short, tmp_path)
    config.training.steps, config.training.checkpoint_every, config.data.workers, config.name = 8, 50, 1, "longer"
    code, seen = train(config, workdir)
    assert code == FINISHED and len(seen) == 2
    assert finished_steps(workdir / "checkpoints") == [3, 6, 8]


@pytest.mark.slow
def test_a_start_that_failed_does_not_claim_the_workdir(short, tmp_path):
    config = short[1].copy_and_resolve_references()
    config.data.train.images.path = str(tmp_path / "misspelt")
    with pytest.raises(DataError, match="misspelt does not exist"):
        train(config, tmp_path / "run")
    config = short[1].copy_and_resolve_references()
    config.training.steps = 1
    assert train(config, tmp_path / "run")[0] == FINISHED


@pytest.mark.slow
def test_changed_data_is_refused(short, data, tmp_path):
    workdir, config = copied(short, tmp_path)
    folder = shutil.copytree(data, tmp_path / "data")
    moved = json.loads((workdir / "config.json").read_text())
    for one, name in ((moved["data"]["train"][name], name) for name in ("images", "frames")):
        one["path"] = config.data.train[name].path = str(folder / ("images" if name == "images" else "videos"))
    (workdir / "config.json").write_text(json.dumps(moved))
    assert train(config, workdir)[0] == FINISHED  # elsewhere, but the same
    (folder / "images" / "00.jpg").unlink()
    with pytest.raises(DataError, match="the data of stream 'images' is not what this run was started with"):
        train(config, workdir)
    with lock_workdir(workdir):
        run = Run(config, workdir, accept_data_change=True)
        run.close()
    assert run.feed.fingerprints["images"] == run.batches.fingerprints["images"]


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_parameters(data, tmp_path):
    config = config_in(data, "stills")
    del config.data.train["frames"]
    config.optimizer.update({"learning_rate": 1e30, "warmup_steps": 0})
    term = (
        r"not finite at step 2 \(stream 'images', 1 in a row; the first such term is \w+, which is nan\).*lower config.optimizer"
    )
    with pytest.raises(TrainingError, match=term):
        train(config, tmp_path)


@pytest.mark.slow
def test_a_damaged_file_is_left_out_and_listed_also_after_a_resume(data, tmp_path, caplog):
    folder = shutil.copytree(data, tmp_path / "data")
    (folder / "images" / "05.jpg").write_bytes(b"\xff\xd8 not an image")
    config = config_in(folder, "stills")
    config.training.steps, config.data.bad_share = 6, 2 / IMAGES
    with caplog.at_level(logging.WARNING):
        _, seen = train(config, tmp_path / "run")
    assert len(seen) == 6 and not any("05.jpg" in ids for _, ids in seen)
    listed = tmp_path / "run" / "bad_records.jsonl"
    rows = [json.loads(line) for line in listed.read_text().splitlines()]
    assert [(row["stream"], row["id"]) for row in rows] == [("images", "05.jpg")] and rows[0]["reason"]
    assert "stream 'images': 05.jpg is left out" in caplog.text
    earlier = json.dumps({"stream": "frames", "id": "gone.mp4", "reason": "of a run before"})
    listed.write_text(earlier + "\n")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "6")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "3")
    train(config, tmp_path / "run")
    assert [json.loads(line)["id"] for line in listed.read_text().splitlines()] == ["gone.mp4", "05.jpg"]


@pytest.mark.slow
def test_too_many_damaged_files_stop_the_run(data, tmp_path):
    folder = shutil.copytree(data, tmp_path / "data")
    for number in range(4):
        (folder / "images" / f"{number:02d}.jpg").write_bytes(b"nothing")
    config = config_in(folder, "stills")
    config.data.bad_share = 2 / IMAGES
    with pytest.raises(DataError, match=rf"stream 'images': 3 of its {IMAGES} records cannot be used"):
        train(config, tmp_path / "run")
    assert len((tmp_path / "run" / "bad_records.jsonl").read_text().splitlines()) == 3
