"""`tokjax sweep` from a file to the report, with real training: one row that finishes, and one that cannot."""

import csv
import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sweep_stand_ins import write_sweep
from tiny_experiment import write_data

from tokjax.cli import main
from tokjax.config import from_json
from tokjax.sweep.measured import shape_costs
from tokjax.sweep.rows import load_sweep, planned_runs
from tokjax.sweep.workdir import prepare, write_start
from tokjax.training.ending import read_end
from tokjax.training.telemetry import read_metrics
from tokjax.training.workdir import lock_workdir

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """(folder, the ended process): a sweep of two rows in folder/w; the second has its data elsewhere."""
    folder = tmp_path_factory.mktemp("sweep")
    write_data(folder / "data")
    rows = [
        "Row('good', me, facts={'kind': 'VQ'}, paper={'images/psnr': 31.5})",
        "Row('bad', me, {'data.train.images.path': 'nowhere'})",
    ]
    path = write_sweep(folder, *rows)
    search = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    words = [sys.executable, "-m", "tokjax.cli", "sweep", str(path), "--workdir", str(folder / "w")]
    ended = subprocess.run(words, env=dict(os.environ) | {"PYTHONPATH": search}, capture_output=True, text=True, timeout=300)
    return folder, ended


@pytest.mark.slow
def test_a_sweep_trains_what_it_can_and_says_why_the_rest_failed(swept):
    folder, ended = swept
    assert ended.returncode == 1, ended.stderr
    lines = ended.stdout.splitlines()
    assert any(line.startswith("good/seed_0 | done | step 6/6 | held-out PSNR") for line in lines), ended.stdout
    assert any(line.startswith("bad/seed_0 | failed | ") and "nowhere" in line for line in lines), ended.stdout
    good = folder / "w" / "rows" / "good" / "seed_0"
    record = json.loads((good / "run.json").read_text())
    assert from_json((good / "config.json").read_text()) == from_json(json.dumps(record["config"]))
    assert record["exit"] == 0 and record["starts"][0]["code"]["tokjax"]
    assert read_end(good) == {"exit": 0, "reason": ""}
    assert "nowhere" in read_end(folder / "w" / "rows" / "bad" / "seed_0")["reason"]


@pytest.mark.slow
def test_the_report_holds_what_was_measured_and_needs_nothing_else(swept, capsys):
    folder, _ = swept
    assert main(["sweep", str(folder / "w"), "--report"]) == 0
    out, good = capsys.readouterr().out, folder / "w" / "rows" / "good" / "seed_0"
    scores = read_metrics(good)[-1]
    with (folder / "w" / "table.csv").open() as file:
        first, second = csv.DictReader(file)
    assert first["PSNR ↑"] == f"{scores['validation/images/psnr']:.2f}" and first["PSNR (paper) ↑"] == "31.50"
    assert first["utilization ↑"] == f"{scores['validation/codebook/usage']:.1%}" and first["kind"] == "VQ"
    assert second["PSNR ↑"] == second["device hours"] == "–" and second["parameters"] == first["parameters"]
    costs = shape_costs(from_json((good / "config.json").read_text()))
    assert first["bits/pixel"] == f"{costs['bits_per_pixel']:.4f}" == f"{16 * 4 / 256:.4f}"  # 4 bits for 4x4 pixels
    assert 0 < float(first["device hours"]) < 1 and first["peak memory"].endswith("B")
    assert "bad/seed_0: failed, " in out and "Columns with (paper) are the numbers of Table 9" in out
    assert (folder / "w" / "table.md").read_text() in out and r"\toprule" in (folder / "w" / "table.tex").read_text()
    page = Page((folder / "w" / "report.html").read_text())
    assert page.sources and all(source.startswith("data:image/") for source in page.sources)
    assert page.alternatives == ["original", "good"] * 2 and "a <test>" in page.texts
    assert {"The same clips", "Training", "Rate and distortion", "PSNR by rate"} <= set(page.texts)


class Page(HTMLParser):
    """Its texts, and the sources and alternative texts of its pictures."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.alternatives, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "img":
            self.sources.append(attributes["src"])
            self.alternatives.append(attributes["alt"])

    def handle_data(self, data):
        self.texts.append(data.strip())


@pytest.mark.slow
def test_the_workdir_alone_tells_how_far_it_is(swept, capsys):
    folder, _ = swept
    assert main(["sweep", str(folder / "w")]) == 0
    head, good, bad, reason = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "state", "step", "last", "metric", "ETA"]
    assert good.split()[:3] == ["good/seed_0", "done", "6/6"] and bad.split()[:2] == ["bad/seed_0", "failed"]
    assert "nowhere" in reason


def test_costs_come_from_shapes(tmp_path):
    path = write_sweep(tmp_path, "Row('a', me)")
    config = planned_runs(load_sweep(str(path))[1])[0].config
    found = shape_costs(config)
    assert found["bits_per_pixel"] == 16 * 4 / 256 and found["parameters"] > 1000 and found["macs"] > found["parameters"]
    config.model.quantizer.name = "kl"
    assert "bits_per_pixel" not in shape_costs(config)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say what to sweep: a sweep file, or the workdir of a sweep"),
        (["x.py", "--options", "gpu"], "--options are for --launcher slurm or gke"),
        (["x.py", "--launcher", "print", "--parallel"], "--parallel is for runs on this machine, not for --launcher"),
        (["{}"], "is neither a sweep file nor the workdir of a sweep: it has no sweep.json"),
        (["{}", "--parallel", "2"], "to go on with the sweep in {}, give its file and --workdir {}"),
        (["x.py", "--models", "a"], "--models takes folders of finished evaluations and --output; leave the rest out"),
        (["nowhere.py"], "no sweep file nowhere.py; give a Python file that defines get_sweep(scale), or a sweep's workdir"),
    ],
)
def test_wrong_use_is_one_sentence(tmp_path, capsys, words, message):
    assert main(["sweep", *(word.format(tmp_path) for word in words)]) == 1
    assert message.format(tmp_path, tmp_path) in capsys.readouterr().err


def test_what_cannot_be_run_is_refused_in_one_sentence_before_anything_starts(tmp_path, capsys):
    def refused(*rows, scale="paper"):
        assert main(["sweep", f"{write_sweep(tmp_path, *rows)}:{scale}", "--workdir", str(tmp_path / "w")]) == 1
        said = capsys.readouterr()
        assert not list(tmp_path.glob("w/rows/*/*/log.txt")), "something was started"
        return said.err or said.out

    assert refused("Row('a', me)", "Row('a', me)") == ("tokjax: the sweep has two rows named 'a'; give each a name of its own\n")
    assert refused("Row('a', me)", "Row('b', me, {'loss.weigth': 1.0})").startswith(
        "tokjax: row 'b': unknown key 'weigth' in --config.loss.weigth"
    )
    assert not (tmp_path / "w").exists()
    run = planned_runs(load_sweep(str(write_sweep(tmp_path, "Row('a', me)")))[1])[0]
    prepare(tmp_path / "w", [run])
    write_start(tmp_path / "w", run, "this machine")
    changed = refused("Row('a', me, {'model.width': 32})")
    assert changed.startswith("a/seed_0 | stale | step 0/6 | config.model.width was 16 and is 32; remove ")
    other = refused("Row('b', me)", scale="laptop")
    assert other.startswith("tokjax: ") and "was made by the sweep small:paper, and this is small:laptop" in other
    assert "rows only there: a; rows only here: b" in other and other.count("\n") == 1


def test_a_second_runner_in_a_workdir_is_refused(tmp_path, capsys):
    path = write_sweep(tmp_path, "Row('a', me)")
    with lock_workdir(tmp_path / "w"):
        assert main(["sweep", str(path), "--workdir", str(tmp_path / "w")]) == 1
    assert f"the workdir {tmp_path / 'w'} is in use by process {os.getpid()} on " in capsys.readouterr().err
    assert not (tmp_path / "w" / "sweep.json").exists()


@pytest.mark.slow
def test_the_toy_table_3_has_the_papers_order_of_utilization(tmp_path):
    """VQ uses fewer of its codes than LFQ and FSQ with their loss, as the paper prints; minutes of training."""
    pytest.importorskip("skimage")
    assert main(["prepare", "sample", "--output", str(tmp_path / "data/sample")]) == 0
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    words = [sys.executable, "-m", "tokjax.cli", "sweep", "experiments/ablations/vidtok_regularizers.py:laptop", "--workdir", "w"]
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    assert subprocess.run(words, cwd=tmp_path, env=environment, timeout=3600).returncode == 0
    rows = {path.name: read_metrics(path / "seed_0")[-1] for path in (tmp_path / "w" / "rows").iterdir()}
    usage = {name: row["validation/codebook/usage"] for name, row in rows.items()}
    assert len(rows) == 8 and max(usage["vq"], usage["vq_without_loss"]) < 0.5 < min(usage["lfq"], usage["fsq"])
