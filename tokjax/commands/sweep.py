"""Examples:
  tokjax sweep experiments/ablations/vidtok_regularizers.py:laptop --workdir runs/regularizers
  tokjax sweep experiments/ablations/vidtok_suite.py --workdir /shared/suite --launcher slurm --options "--gpus-per-node=8"
  tokjax sweep runs/regularizers                  what has become of each run
  tokjax sweep runs/regularizers --report         table.md, .tex, .csv and report.html in it
  tokjax sweep --models runs/a/evaluation runs/b/evaluation --output models.html

A sweep file lists rows, each an experiment with some values changed; :paper is its full size, :laptop a toy one. Each run's
workdir is WORKDIR/rows/ROW/seed_N. The same command resumes: what is done is not repeated. Ctrl-C or SIGTERM saves first.
Exit codes: 0 all runs are done (or submitted), 1 some failed or are stale, 75 stopped on request.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", nargs="?", metavar="FILE[:SCALE]", help="a sweep file, or the workdir of a sweep")
    parser.add_argument("--workdir", type=Path, help="of the sweep; default: runs/FILE_SCALE")
    parser.add_argument(
        "--parallel",
        type=int,
        nargs="?",
        const=0,
        metavar="N",
        help="a run on each of N devices, or all, or N shares of the cores",
    )
    parser.add_argument(
        "--launcher", choices=("slurm", "gke", "print"), help="hand the runs to a scheduler, or print their commands"
    )
    parser.add_argument(
        "--options", default="", metavar="WORDS", help="with --launcher: what sbatch takes, or gpu or tpu for gke"
    )
    parser.add_argument("--report", action="store_true", help="write the table of what is done")
    parser.add_argument("--models", type=Path, nargs="+", metavar="DIR", help="plot these evaluations instead")
    parser.add_argument("--output", type=Path, default=Path("models.html"), help="with --models; default: %(default)s")


def run(args: argparse.Namespace) -> int:
    from tokjax.errors import ConfigError

    if args.models:
        return _models(args)
    if not args.sweep:
        raise ConfigError("say what to sweep: a sweep file, or the workdir of a sweep")
    if args.options and not args.launcher:
        raise ConfigError("--options are for --launcher slurm or gke")
    if args.launcher and args.parallel is not None:
        raise ConfigError("--parallel is for runs on this machine, not for --launcher")
    if Path(args.sweep).is_dir():
        return _look(args, Path(args.sweep))
    return _sweep(args)


def _models(args: argparse.Namespace) -> int:
    from tokjax.errors import ConfigError
    from tokjax.sweep.models_page import models_page
    from tokjax.training.workdir import write_atomically

    if args.sweep or args.workdir or args.report or args.launcher:
        raise ConfigError("--models takes folders of finished evaluations and --output; leave the rest out")
    write_atomically(args.output, models_page(args.models))
    print(f"wrote {args.output}")
    return 0


def _look(args: argparse.Namespace, workdir: Path) -> int:
    """The state of a sweep that was started before, or its report."""
    from tokjax.errors import ConfigError
    from tokjax.sweep.queues import with_queues
    from tokjax.sweep.states import state_of, status_table
    from tokjax.sweep.workdir import read_workdir

    if args.workdir or args.launcher or args.parallel is not None:
        raise ConfigError(f"to go on with the sweep in {workdir}, give its file and --workdir {workdir}")
    _, sweep, runs = read_workdir(workdir)
    if args.report:
        return _report(workdir, sweep, runs)
    print(status_table(with_queues(workdir, {one.id: state_of(workdir, one) for one in runs})))
    return 0


def _report(workdir: Path, sweep: Any, runs: list[Any]) -> int:
    from tokjax.evaluation.comparison import as_markdown
    from tokjax.sweep.report import write_report

    print(as_markdown(write_report(workdir, sweep, runs)))
    print(f"wrote table.md, .tex, .csv and report.html in {workdir}")
    return 0


def _sweep(args: argparse.Namespace) -> int:
    from tokjax.sweep.rows import load_sweep, planned_runs
    from tokjax.sweep.slots import slots_for
    from tokjax.sweep.workdir import claim
    from tokjax.training.workdir import lock_workdir

    name, sweep = load_sweep(args.sweep)
    runs, slots = planned_runs(sweep), slots_for(args.parallel)
    workdir = args.workdir or Path("runs") / name.replace(":", "_")
    with lock_workdir(workdir):
        claim(workdir, name, sweep, runs)
        code = _launch(args, workdir, name, runs) if args.launcher else _run_here(workdir, runs, slots)
    if args.report:
        _report(workdir, sweep, runs)
    return code


def _launch(args: argparse.Namespace, workdir: Path, name: str, runs: list[Any]) -> int:
    from tokjax.sweep.launchers import print_commands, submit_gke, submit_slurm
    from tokjax.sweep.queues import with_queues
    from tokjax.sweep.states import DONE, RUNNING, STALE, state_of, status_table

    states = with_queues(workdir, {one.id: state_of(workdir, one) for one in runs})
    left = [one for one in runs if states[one.id].name not in (DONE, STALE, RUNNING)]
    if args.launcher == "print":
        print_commands(workdir, left)
    else:
        print(status_table(states))
        if left:
            slurm = args.launcher == "slurm"
            print(submit_slurm(workdir, left, args.options) if slurm else submit_gke(workdir, left, name, args.options))
    return 1 if any(state.name == STALE for state in states.values()) else 0


def _run_here(workdir: Path, runs: list[Any], slots: list[Any]) -> int:
    from tokjax.sweep.live import LiveTable
    from tokjax.sweep.runner import Runner

    table = LiveTable()
    runner = Runner(workdir, runs, slots, table.show)
    code = runner.run()
    table.finish(runner.states)
    return code
