"""The folder of a sweep: `sweep.json` says what is to be run, `rows/ROW/seed_N` is the workdir of each run.

What a run is, and was, stands in its folder: `planned.json` is what it is to train, written before it starts, so that a sweep
file may change meanwhile; `config.json` what it trains, `run.json` what it was started with and by which code, `log.txt` what it
said, `ended.json` how it ended, `usage.jsonl` which devices it used and how long.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tokjax import __version__
from tokjax.config import from_json, to_json
from tokjax.errors import ConfigError, require
from tokjax.sweep.rows import PlannedRun, Row, Sweep
from tokjax.training.ending import forget_end
from tokjax.training.workdir import write_atomically

_INDIFFERENT = ("mesh.", "data.workers")  # to what is computed


def folder_of(workdir: Path, run: PlannedRun) -> Path:
    return workdir / "rows" / run.id


def claim(workdir: Path, name: str, sweep: Sweep, runs: Sequence[PlannedRun]) -> None:
    """Makes the workdir this sweep's; rows may have been added or changed since it was made.

    Raises:
      ConfigError: it is another sweep's; the sentence says where they differ.
    """
    path = workdir / "sweep.json"
    if path.exists():
        _refuse_other(json.loads(path.read_text()), name, sweep, workdir)
    elif (workdir / "checkpoints").exists() or (workdir / "config.json").exists():
        raise ConfigError(f"{workdir} is the workdir of a training run; give a sweep another --workdir")
    plans = [
        {"id": run.id, "row": run.row, "seed": run.seed, "arguments": run.arguments, "config": run.config.to_dict()}
        for run in runs
    ]
    workdir.mkdir(parents=True, exist_ok=True)
    content = {"name": name, "sweep": dataclasses.asdict(sweep), "runs": plans}
    write_atomically(path, json.dumps(content, indent=1) + "\n")


def _refuse_other(old: Mapping[str, Any], name: str, sweep: Sweep, workdir: Path) -> None:
    here, there = [row.name for row in sweep.rows], [row["name"] for row in old["sweep"]["rows"]]
    missing = [row for row in there if row not in here]
    if old["name"] == name and not missing:
        return
    added = [row for row in here if row not in there]
    sides = [f"rows {side}: {', '.join(rows)}" for side, rows in (("only there", missing), ("only here", added)) if rows]
    raise ConfigError(
        f"{workdir} was made by the sweep {old['name']}, and this is {name} ({'; '.join(sides) or 'with the same rows'}); give "
        "another --workdir"
    )


def read_workdir(workdir: Path) -> tuple[str, Sweep, list[PlannedRun]]:
    """What `claim` wrote.

    Raises:
      ConfigError: no sweep was run there.
    """
    path = workdir / "sweep.json"
    require(path.is_file(), f"{workdir} is neither a sweep file nor the workdir of a sweep: it has no sweep.json")
    content = json.loads(path.read_text())
    rows = tuple(Row(**row | {"seeds": tuple(row["seeds"])}) for row in content["sweep"].pop("rows"))
    texts = {key: tuple(content["sweep"].pop(key)) for key in ("columns", "notes")}
    runs = [
        PlannedRun(one["id"], one["row"], one["seed"], from_json(json.dumps(one["config"])), tuple(one["arguments"]))
        for one in content["runs"]
    ]
    return content["name"], Sweep(rows=rows, **texts, **content["sweep"]), runs


def command_of(workdir: Path, run: PlannedRun) -> list[str]:
    """What trains it, once `prepare` has written its config, as a person would type it."""
    folder = folder_of(workdir, run)
    return ["tokjax", "train", "--workdir", str(folder), "--config", str(folder / "planned.json")]


def prepare(workdir: Path, runs: Sequence[PlannedRun]) -> None:
    """Makes the folders of runs that are about to start, and writes what they are to train."""
    for run in runs:
        folder = folder_of(workdir, run)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "planned.json", to_json(run.config) + "\n")
        forget_end(folder)


def write_start(workdir: Path, run: PlannedRun, place: str) -> None:
    """Records in `run.json` what is about to be started, where, and by which code; earlier starts stay listed."""
    folder = folder_of(workdir, run)
    folder.mkdir(parents=True, exist_ok=True)
    starts = [*read_record(folder).get("starts", []), {"place": place, "code": code_version()}]
    record = {"row": run.row, "seed": run.seed, "command": command_of(workdir, run), "arguments": run.arguments}
    record |= {"starts": starts, "config": run.config.to_dict()}
    write_atomically(folder / "run.json", json.dumps(record, indent=1) + "\n")


def update_record(folder: Path, **changes: Any) -> None:
    """Nothing where there is no record any more, as of a folder that was removed while its run went on."""
    if record := read_record(folder):
        write_atomically(folder / "run.json", json.dumps(record | changes, indent=1) + "\n")


def read_record(folder: Path) -> dict[str, Any]:
    """What `run.json` holds; nothing where the run was never started."""
    path = folder / "run.json"
    return json.loads(path.read_text()) if path.exists() else {}


def code_version() -> dict[str, str]:
    """Of tokjax and of what it computes with; the commit, and whether files differ from it, where it is a checkout."""
    found = {"tokjax": __version__, "python": sys.version.split()[0], "jax": version("jax"), "flax": version("flax")}
    root = Path(__file__).parents[2]
    if (root / ".git").exists() and shutil.which("git"):
        found["commit"] = _git(root, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=-changed") or "unknown"
    return found


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True).stdout.strip()


def change_since(folder: Path, run: PlannedRun) -> str:
    """Where the config of what ran in the folder differs from what is planned, in words; "" where it does not or nothing ran."""
    path = folder / "config.json"
    if path.exists():
        old = from_json(path.read_text())
    elif record := read_record(folder):
        old = from_json(json.dumps(record["config"]))
    else:
        return ""
    before, now = _flat(old.to_dict()), _flat(from_json(to_json(run.config)).to_dict())
    changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    changed = [key for key in changed if not key.startswith(_INDIFFERENT)]
    texts = [f"config.{key} was {before.get(key)!r} and is {now.get(key)!r}" for key in changed[:3]]
    return "; ".join(texts) + (f"; and {len(changed) - 3} more" if len(changed) > 3 else "")


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in node.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
