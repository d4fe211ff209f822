"""Examples:
  tokjax train --config experiments/quickstart.py --workdir runs/quickstart
  tokjax train --config experiments/vidtok.py:fsq_causal_488_32768 --workdir runs/fsq --config.optimizer.learning_rate=1e-4

The same command resumes a run that was stopped or killed. Ctrl-C or SIGTERM finishes the step, saves and exits with code 75.
Compiled programs are kept in WORKDIR/compilations, or where JAX_COMPILATION_CACHE_DIR says, and found there by the next start.
Exit codes: 0 finished, 1 an error, 75 stopped on request.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", required=True, metavar="FILE[:VARIANT]", help="an experiment file and a row of it, or a config.json"
    )
    parser.add_argument("--workdir", required=True, type=Path, help="checkpoints, metrics and logs of the run")
    parser.add_argument("--config.KEY", dest="_", metavar="VALUE", help="overrides one value, e.g. --config.training.steps=200")
    parser.add_argument("--distributed", action="store_true", help="several processes, found from Slurm, TPU or GKE")
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="several processes by hand: address of the first")
    parser.add_argument("--processes", type=int, help="with --coordinator: how many")
    parser.add_argument("--process-id", type=int, help="with --coordinator: which this is, from 0")
    parser.add_argument(
        "--profile", action="store_true", help="write a trace of 3 steps to WORKDIR/profile, and name their five largest costs"
    )
    parser.add_argument(
        "--accept-data-change", action="store_true", help="go on although files were added, removed or replaced since the start"
    )
    parser.set_defaults(overrides=[])


def run(args: argparse.Namespace) -> int:
    from tokjax.config import validate
    from tokjax.experiment import apply_overrides, load_experiment

    config = load_experiment(args.config)
    apply_overrides(config, args.overrides)
    validate(config)
    return _train(config, args)


def _train(config: object, args: argparse.Namespace) -> int:
    import contextlib

    import jax

    if args.distributed:
        jax.distributed.initialize()
    elif args.coordinator:
        jax.distributed.initialize(args.coordinator, args.processes, args.process_id)
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(args.workdir.absolute() / "compilations"))
    from tokjax.training.device_time import end_what_was_killed, recorded_use
    from tokjax.training.ending import recorded_end
    from tokjax.training.loop import Run
    from tokjax.training.workdir import lock_workdir

    args.workdir.mkdir(parents=True, exist_ok=True)
    leader = jax.process_index() == 0
    with lock_workdir(args.workdir) if leader else contextlib.nullcontext(), recorded_end(args.workdir, leader) as note:
        if leader:
            end_what_was_killed(args.workdir)
        run = Run(config, args.workdir, args.profile, args.accept_data_change)
        with recorded_use(args.workdir, leader):
            return note(run.train())
