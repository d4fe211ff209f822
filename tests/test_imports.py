"""Imports point one way, and what computes needs nothing that only reads data or writes logs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("data", "models", "quantizers", "losses", "training", "evaluation", "conversion", "commands", "generation", "sweep")

# What the files of a part may import of ours; parts that are not named here are free, except of `commands`.
ALLOWED = {
    "data": {"data"},
    "models": {"models", "quantizers"},
    "quantizers": {"quantizers"},
    "losses": {"losses"},
    "evaluation": set(PARTS) - {"training", "commands", "sweep"},
    "training": set(PARTS) - {"commands", "sweep"},
    "conversion": set(PARTS) - {"commands", "sweep"},
    "generation": set(PARTS) - {"training", "commands", "sweep"},
    "sweep": set(PARTS) - {"commands"},
}
COMPUTING = [
    *("models.tokenizer", "models.vidtok", "models.omnitokenizer", "models.cost"),
    *("models.discriminators", "losses.objective", "losses.augment", "losses.perceptual"),
    *("losses.reconstruction", "quantizers", "quantizers.usage", "training.carry_over"),
    *("training.step", "training.state", "training.optimizers", "training.sharding", "training.checkpoints"),
    *("defaults", "training.hardware", "training.workloads", "training.throughput", "training.throughput_report"),
]


def imported(path):
    """The modules of tokjax that a file names in import statements, those inside functions included, without `tokjax.`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("tokjax.") for name in found if name.startswith("tokjax.")}


def files(part):
    return sorted((ROOT / "tokjax" / part).rglob("*.py"))


def test_the_reader_of_imports_sees_them(tmp_path):
    text = "import tokjax.a.b\nfrom tokjax.c import d\ndef f():\n    from tokjax import e\n    import numpy\n"
    (tmp_path / "x.py").write_text(text)
    assert imported(tmp_path / "x.py") == {"a.b", "c", "c.d", "e"}
    assert {path.name for path in (ROOT / "tokjax").iterdir() if path.is_dir() and (path / "__init__.py").exists()} == set(PARTS)


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_point_one_way(part):
    for path in files(part):
        parts = {name.split(".")[0] for name in imported(path)} & set(PARTS)
        assert parts <= ALLOWED[part], f"{path.relative_to(ROOT)} imports {sorted(parts - ALLOWED[part])}"


def test_data_knows_nothing_else_of_ours():
    for path in files("data"):
        assert all(name.split(".")[0] == "data" for name in imported(path)), path


def test_only_the_command_line_imports_commands():
    for path in (ROOT / "tokjax").rglob("*.py"):
        if path.name != "cli.py":
            assert not any(name.split(".")[0] == "commands" for name in imported(path)), path


@pytest.mark.parametrize("blocked", [("grain", "clu", "ml_collections", "tensorboardX", "av", "PIL")])
def test_what_computes_imports_without_readers_and_writers(blocked):
    lines = ["import sys", *(f"sys.modules[{name!r}] = None" for name in blocked)]  # None: importing it raises ImportError
    lines += [f"import tokjax.{name}" for name in COMPUTING]
    run = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr.splitlines()[-1]


def test_configuration_needs_no_jax():
    code = "import sys; sys.modules['jax'] = None; import tokjax.config, tokjax.experiment, tokjax.cli"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
