"""The example of docs/sweeps.md, word for word, with a stand-in for `tokjax train`; and Optuna itself where it is installed."""

import os
import re
import types
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "sweeps.md"
# Its score is best at a rate of 1e-3; a rate above 5e-3 diverges, and one below 2e-5 takes longer.
TOKJAX = """#!/usr/bin/env python3
import json, math, pathlib, sys, time
named = dict(word.split("=") for word in sys.argv if "=" in word)
rate = float(named["--config.optimizer.learning_rate"])
assert sys.argv[1:4] == ["train", "--config", "experiments/quickstart.py"]
if rate > 5e-3:
    sys.exit("tokjax: the loss or its gradient was not finite at step 20")
folder = pathlib.Path(sys.argv[sys.argv.index("--workdir") + 1])
folder.mkdir(parents=True)
with (folder / "metrics.jsonl").open("a") as file:
    for step in (0, 350, 700):
        file.write(json.dumps({"step": step, "validation/videos/psnr": 30 - abs(math.log10(rate) + 3)}) + "\\n")
    file.write('{"step": 720, "lo')
    file.flush()
    time.sleep(5 if rate < 2e-5 else 0)
"""


class Pruned(Exception):
    """As optuna.TrialPruned."""


class Study:
    """What the example uses of Optuna: a trial for each of these rates."""

    rates = (1e-4, 1e-3, 8e-3, 1e-5)

    def optimize(self, objective, n_trials, catch):
        self.values, self.failed, self.pruned = {}, [], []
        for number, rate in enumerate(self.rates):
            reported = []
            trial = types.SimpleNamespace(
                number=number,
                suggest_float=lambda name, low, high, log, rate=rate: rate,
                report=lambda score, step, reported=reported: reported.append((step, score)),
                should_prune=lambda rate=rate, reported=reported: rate < 2e-5 and len(reported) == 3,
            )
            try:
                self.values[rate] = objective(trial)
            except catch:
                self.failed.append(rate)
            except Pruned:
                self.pruned.append((rate, [step for step, _ in reported]))
        self.best_value = max(self.values.values())
        self.best_params = {"learning_rate": max(self.values, key=self.values.get)}


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The code of the example, and a folder in which its command is the stand-in."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tokjax").write_text(TOKJAX)
    (tmp_path / "bin" / "tokjax").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if "import optuna" in block)
    return code.replace("time.sleep(1)", "time.sleep(0.05)")


def test_the_example_scores_prunes_and_survives_failures(example, monkeypatch, capsys):
    study = Study()
    pruners = types.SimpleNamespace(MedianPruner=lambda n_startup_trials: None)
    fake = types.SimpleNamespace(create_study=lambda direction, pruner: study, pruners=pruners, TrialPruned=Pruned)
    monkeypatch.setitem(__import__("sys").modules, "optuna", fake)
    exec(compile(example, "docs/sweeps.md", "exec"), {})
    assert study.values == {1e-4: pytest.approx(29), 1e-3: pytest.approx(30)}
    assert study.failed == [8e-3] and study.pruned == [(1e-5, [0, 350, 700])]
    assert capsys.readouterr().out == "{'learning_rate': 0.001} 30.0\n"


def test_the_example_runs_with_optuna(example, capsys):
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = {}
    exec(compile(example.replace("n_trials=20", "n_trials=6"), "docs/sweeps.md", "exec"), names)
    assert len(names["study"].trials) == 6 and 28 < names["study"].best_value <= 30
    assert "learning_rate" in capsys.readouterr().out
