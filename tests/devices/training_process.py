"""Trains the tiny experiment and prints its batches and losses as JSON: `training_process.py DATA WORKDIR --config.key=value`."""

import json
import sys
from pathlib import Path

import jax
from tiny_experiment import config_in

from tokjax.experiment import apply_overrides
from tokjax.training.loop import Run
from tokjax.training.telemetry import read_metrics
from tokjax.training.workdir import lock_workdir


def watched(batches, seen: list) -> object:
    """The batches, their ids noted down."""
    draw = type(batches).__next__

    def note(self) -> object:
        batch = draw(self)
        seen.append(batch.ids)
        return batch

    batches.__class__ = type("Watched", (type(batches),), {"__next__": note})
    return batches


def main(data: Path, workdir: Path, overrides: list[str]) -> dict:
    config = config_in(data, "wide")
    apply_overrides(config, overrides)
    ids = []
    with lock_workdir(workdir):
        run = Run(config, workdir)
        start, run.batches = run.start, watched(run.batches, ids)
        split = sum(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(run.state.params))
        run.train()
    losses = [row["loss"] for row in read_metrics(workdir)]
    return {"devices": jax.device_count(), "start": start, "split": split, "ids": ids, "losses": losses}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])))
