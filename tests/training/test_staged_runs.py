"""Whole runs in three stages: small pictures, larger ones with a frozen encoder, codes in place of continuous latents."""

import shutil

import jax
import numpy as np
import pytest
from saved_runs import bits
from tiny_experiment import config_in, write_data

import tokjax
from tokjax.conversion.package import load_with_step
from tokjax.training.checkpoints import read
from tokjax.training.loop import FINISHED, Run
from tokjax.training.saved_steps import finished_steps
from tokjax.training.telemetry import read_metrics
from tokjax.training.workdir import lock_workdir

ENDS = (5, 13, 18)


def train(config, workdir):
    """The (stream, size, ids) of each step."""
    seen = []
    with lock_workdir(workdir):
        run = Run(config, workdir)

        def watched(batches):
            draw = type(batches).__next__

            def note(self):
                batch = draw(self)
                seen.append((batch.stream, batch.video.shape[2], batch.ids))
                return batch

            batches.__class__ = type("Watched", (type(batches),), {"__next__": note})
            return batches

        open_batches = run.feed.batches
        run.batches, run.feed.batches = watched(run.batches), lambda *where: watched(open_batches(*where))
        assert run.train() == FINISHED
    return seen


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("staged") / "data")


def a_config(data):
    config = config_in(data, "staged")
    config.training.keep_checkpoints = 20
    return config


@pytest.fixture(scope="module")
def staged(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    return workdir, train(a_config(data), workdir)


@pytest.mark.slow
def test_each_stage_takes_its_steps_on_its_own_streams_and_sizes(staged):
    workdir, seen = staged
    assert len(seen) == ENDS[-1]
    assert {(stream, size) for stream, size, _ in seen[:5]} == {("images", 8)}
    assert {(stream, size) for stream, size, _ in seen[5:13]} == {("images", 16), ("frames", 16)}
    assert {(stream, size) for stream, size, _ in seen[13:]} == {("images", 16)}
    assert seen[0][2] != seen[13][2]  # the order of the same stream begins anew in another way
    assert [row["step"] for row in read_metrics(workdir) if "loss" in row] == list(range(1, ENDS[-1] + 1))


@pytest.mark.slow
def test_a_run_is_scored_and_saved_at_its_borders(staged):
    workdir, _ = staged
    scored = [row["step"] for row in read_metrics(workdir) if "validation/images/psnr" in row]
    assert scored == [0, *ENDS]
    assert finished_steps(workdir / "checkpoints") == [3, 5, 6, 9, 12, 13, 15, 18]
    with_codes = [row["step"] for row in read_metrics(workdir) if "codebook_usage" in row]
    assert with_codes == list(range(14, 19))


@pytest.mark.slow
def test_what_is_frozen_stays_bitwise_and_the_rest_does_not(staged):
    before, after = bits(staged[0], 5), bits(staged[0], 13)
    for name, old in before.items():
        if name.startswith("params/encoder/"):
            assert after[name] == old, name
    changed = [name for name in before if name.startswith("params/decoder/") and after[name] != before[name]]
    assert len(changed) > 50
    moments = [name for name in after if name.startswith("optimizer/") and "/mu/" in name]
    assert moments and not any("encoder" in name for name in moments)


@pytest.mark.slow
def test_a_checkpoint_is_loaded_as_the_model_of_its_stage(staged):
    workdir, _ = staged
    first, codes = tokjax.load(workdir, step=5), tokjax.load(workdir)
    assert first.config.model.quantizer.name == "kl" and first.variables.keys() == {"params"}
    assert codes.config.model.quantizer.name == "vq" and codes.variables.keys() == {"params", "codebook"}
    assert (first.config.data.train.images.resolution, codes.config.data.train.images.resolution) == (8, 16)
    assert not first.config.stages and not codes.config.stages
    video = np.random.default_rng(0).integers(0, 256, (1, 1, 16, 16, 3), np.uint8)
    assert first.encode(video).indices is None and codes.encode(video).indices.shape == (1, 1, 8, 8)
    shadow = read(workdir / "checkpoints", 18, ("ema",))[1]["ema"]
    jax.tree.map(np.testing.assert_array_equal, codes.variables["params"], shadow)


@pytest.mark.slow
def test_an_export_is_of_one_stage_and_complete(staged, tmp_path):
    from tokjax.conversion.package import digest, export

    export(staged[0], tmp_path / "model")
    again, step = load_with_step(tmp_path / "model")
    whole = tokjax.load(staged[0])
    assert step == 18 and not again.config.stages
    jax.tree.map(np.testing.assert_array_equal, again.variables, whole.variables)
    assert digest(again) == digest(whole)
    other = tokjax.load(staged[0], step=15)
    other.variables["params"] = whole.variables["params"]
    assert digest(other) != digest(whole)  # the same parameters with another codebook


@pytest.mark.slow
@pytest.mark.parametrize("step", [5, 9, 15])
def test_resuming_at_a_border_and_within_a_stage_ends_bitwise_the_same(staged, data, tmp_path, capsys, step):
    workdir = shutil.copytree(staged[0], tmp_path / "run")
    for later in [saved for saved in finished_steps(workdir / "checkpoints") if saved > step]:
        shutil.rmtree(workdir / "checkpoints" / str(later))
    seen = train(a_config(data), workdir)
    assert seen == staged[1][step:]
    one, two = bits(workdir, 18), bits(staged[0], 18)
    assert one.keys() == two.keys() and [name for name in one if one[name] != two[name]] == []
    losses = [[(row["step"], row["loss"]) for row in read_metrics(where) if "loss" in row] for where in (workdir, staged[0])]
    assert losses[0] == losses[1]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"resuming at step {step}: tiny staged, ") and lines[0].endswith("to step 18 in 3 stages")
    told = [line for line in lines if ": stage '" in line]
    assert len(told) == sum(end >= step for end in ENDS[:2])
    last = "step 13: stage 'codes', 3 of 3, to step 18: "
    assert (told[-1].startswith(last) and "new: decoder/conv_out" in told[-1]) if told else step > 13


def test_a_pattern_that_matches_nothing_is_refused_before_the_first_step(data, tmp_path):
    config = a_config(data)
    config.stages["1"].optimizer.freeze = ("encodr",)
    with pytest.raises(
        ValueError, match=r"optimizer.freeze has the pattern 'encodr', which matches no parameter; names like it:"
    ):
        train(config, tmp_path / "run")
    config.stages["1"].optimizer.freeze = ("*",)
    with pytest.raises(ValueError, match="matches every parameter, so nothing would train"):
        train(config, tmp_path / "run")
    config.stages["1"].optimizer.freeze = ()
    config.stages["2"].fresh = ("decodr/conv_out",)
    with pytest.raises(ValueError, match=r"`fresh` of stage 'codes' has the pattern 'decodr/conv_out', which matches no"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_stage_without_a_stream_is_refused(data, tmp_path):
    config = a_config(data)
    config.stages["1"].data.train.update({"frames": {"weight": 0.0}, "images": {"weight": 0.0}})
    with pytest.raises(ValueError, match=r"config.data.train has no stream to draw from in stage 'large'"):
        train(config, tmp_path / "run")
