"""Sweep files are checked before anything starts; those that ship are valid at both scales and hold the papers' rows."""

import re
from pathlib import Path

import pytest
from sweep_stand_ins import write_sweep

from tokjax.config import ConfigError
from tokjax.experiment import load_experiment
from tokjax.sweep.rows import load_sweep, planned_runs

ROOT = Path(__file__).parents[2]
SHIPPED = {
    "omnitokenizer_attention": 3,
    "omnitokenizer_latents": 2,
    "omnitokenizer_training": 4,
    "vidtok_architecture": 4,
    "vidtok_regularizers": 8,
    "vidtok_suite": 14,
    "vidtok_training": 5,
}


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["Row('a', me)", "Row('a', me)"], "the sweep has two rows named 'a'; give each a name of its own"),
        ([], "the sweep 'a <test>' has no rows"),
        (["Row('a b', me)"], "row 'a b': a name has letters, digits, dots, dashes and underscores only"),
        (["Row('../a', me)"], "row '../a': a name has letters, digits, dots, dashes and underscores only"),
        (["Row('a', me, seeds=(1, 1))"], "row 'a': seeds must differ, not (1, 1)"),
        (["Row('a', me, {'seed': 1})"], "row 'a': the seed is not an override; give seeds=(...)"),
        (["Row('a', me, {'model.widht': 8})"], "row 'a': unknown key 'widht' in --config.model.widht; did you mean 'width'?"),
        (["Row('a', me, {'model.width': 'wide'})"], "row 'a': --config.model.width wants a value of type int, as in 16"),
        (["Row('a', me, {'loss.reconstruction': 'l3'})"], "row 'a': config.loss.reconstruction must be one of l1, l2"),
        (["Row('a', 'nowhere.py')"], "row 'a': no experiment file nowhere.py"),
        (["Row('a', me, paper={'psrn': 1.0})"], "row 'a': the paper's 'psrn' is none of the sweep's columns"),
    ],
)
def test_what_cannot_work_is_said_in_one_sentence(tmp_path, rows, message):
    _, sweep = load_sweep(str(write_sweep(tmp_path, *rows)))
    with pytest.raises(ConfigError, match=re.escape(message)) as said:
        planned_runs(sweep)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("images/psrn", "there is no column 'images/psrn'; did you mean 'psnr'?"),
        ("usages", "there is no column 'usages'; did you mean 'usage'?"),
        ("usage", "the column 'usage' comes twice"),
        ("videos/psnr", "no row measures the column 'videos/psnr': none has a validation stream 'videos' with 'psnr' among"),
        (
            "images/fid_torch",
            "no row measures the column 'images/fid_torch': none has a validation stream 'images' with 'fid_torch'",
        ),
    ],
)
def test_columns_that_do_not_exist_are_refused(tmp_path, column, message):
    path = write_sweep(tmp_path, "Row('a', me)")
    path.write_text(path.read_text().replace('"images/psnr"', repr(column)))
    with pytest.raises(ConfigError, match=re.escape(message)):
        planned_runs(load_sweep(str(path))[1])


def test_a_file_that_gives_something_else_is_refused(tmp_path):
    (tmp_path / "none.py").write_text("def get_sweep(scale):\n    pass\n")
    with pytest.raises(ConfigError, match=r"get_sweep of .*none\.py gives a NoneType, not a tokjax\.sweep\.rows\.Sweep"):
        load_sweep(str(tmp_path / "none.py"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere.py", "no sweep file nowhere.py"),
        ("experiments/vidtok.py", "experiments/vidtok.py defines no get_sweep(scale)"),
        ("experiments/ablations/vidtok_suite.py:labtop", "not 'labtop'; did you mean 'laptop'?"),
    ],
)
def test_files_that_are_no_sweeps_are_refused(spec, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_sweep(spec)


def test_a_run_is_what_tokjax_train_makes_of_its_arguments(tmp_path):
    path = write_sweep(tmp_path, "Row('a', me, {'model.width': 32, 'optimizer.freeze': ('encoder',)}, seeds=(0, 5))")
    first, second = planned_runs(load_sweep(str(path))[1])
    assert (first.id, second.id) == ("a/seed_0", "a/seed_5") and (first.config.seed, second.config.seed) == (0, 5)
    assert (second.config.model.width, second.config.optimizer.freeze) == (32, ("encoder",))
    assert second.arguments == (
        *("--config", f"{path}:codes", "--config.model.width=32"),
        *("--config.optimizer.freeze=('encoder',)", "--config.seed=5"),
    )


@pytest.mark.parametrize("scale", ["paper", "laptop"])
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_sweeps_are_valid_at_both_scales(name, scale):
    _, sweep = load_sweep(f"experiments/ablations/{name}.py:{scale}")
    runs = planned_runs(sweep)
    assert len(runs) == SHIPPED[name] == len(sweep.rows)
    configs = {
        str(run.config.model.to_dict()) + str(run.config.data) + str(run.config.stages) + str(run.config.loss) for run in runs
    }
    assert len(configs) == len(runs), "two rows train the same"
    if scale == "laptop":
        assert all(sum(stage.training.steps for stage in run.config.stages.values()) <= 300 for run in runs)


def test_no_sweep_file_is_untested():
    found = {path.stem for path in (ROOT / "experiments/ablations").glob("*.py")}
    assert found - {"laptop", "omnitokenizer_rows"} == SHIPPED.keys()


def test_the_suite_prints_the_numbers_of_the_experiments():
    _, sweep = load_sweep("experiments/ablations/vidtok_suite.py")
    import runpy

    published = runpy.run_path("experiments/vidtok.py")["VARIANTS"]
    for row in sweep.rows:
        assert tuple(list(row.paper.values())[1:]) == published[row.name].published
        assert row.experiment == f"experiments/vidtok.py:{row.name}"


def test_the_regularizers_are_those_of_table_3():
    _, sweep = load_sweep("experiments/ablations/vidtok_regularizers.py")
    found = {run.row: run.config for run in planned_runs(sweep)}
    kinds = {name: (one.model.quantizer.name, one.loss.regularization_weight) for name, one in found.items()}
    assert kinds["vq_without_loss"] == ("vq", 0.0) and kinds["lfq"] == ("lfq", 1.0) and kinds["fsq_4096"] == ("fsq", 1.0)
    utilization = {row.name: row.paper.get("usage") for row in sweep.rows}
    assert utilization["vq"] == 0.002 and utilization["lfq_without_loss"] == 0.042 and utilization["lfq"] == 0.999
    assert next(iter(sweep.rows)).paper == {"videos/psnr": "diverged"}
    own = load_experiment("experiments/vidtok.py:fsq_causal_488_262144").model
    assert (
        found["fsq"].model.quantizer.levels == own.quantizer.levels and found["fsq"].model.latent_channels == own.latent_channels
    )
