"""The one training loop: restore, step, log, evaluate, save, stop; stage after stage."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from tokjax.config import validate
from tokjax.errors import ConfigError
from tokjax.evaluation.judge import Judge
from tokjax.evaluation.networks import open_all
from tokjax.evaluation.scores import scalars_of
from tokjax.evaluation.validation import validate_model
from tokjax.generation.families import is_generator
from tokjax.generation.validation import validate_generator
from tokjax.training import sharding
from tokjax.training.alarms import Alarms, first_nonfinite
from tokjax.training.best import Best
from tokjax.training.border import describe, plan
from tokjax.training.checkpoints import Checkpoints
from tokjax.training.claim import claim_workdir
from tokjax.training.compiled import sources
from tokjax.training.feed import Feed
from tokjax.training.profiling import StepProfile
from tokjax.training.program import Program
from tokjax.training.stages import stage_of, stages_of
from tokjax.training.state import TrainState
from tokjax.training.stopping import StopSignal
from tokjax.training.telemetry import Telemetry
from tokjax.training.workdir import write_atomically

FINISHED, STOPPED = 0, 75


class TrainingError(RuntimeError):
    """The run cannot go on; the message is one sentence for the user."""


class Run:
    """A training run in a workdir. The caller holds the workdir's lock."""

    def __init__(self, config: ConfigDict, workdir: Path, profile: bool = False, accept_data_change: bool = False) -> None:
        """With `profile` a few steps are traced, see tokjax.training.profiling."""
        validate(config)
        self.config, self.workdir, self.leader = config, workdir, jax.process_index() == 0
        self.stages = stages_of(config)
        self.feed = Feed(self.stages, accept_data_change)
        self._stop = StopSignal()
        self.mesh = sharding.make_mesh(config.mesh)
        self.programs = [Program(stage, self.mesh) for stage in self.stages]
        claim_workdir(config, workdir, self.leader)
        self.checkpoints = Checkpoints(workdir / "checkpoints", config.training.keep_checkpoints)
        self.best = Best(config.training.best_metric, workdir, self.leader, self.checkpoints.steps())
        self.checkpoints.protected = self.best.step
        judged_by = ("psnr", "ssim", *config.training.evaluation_metrics)
        self.judge = Judge(judged_by, open_all(config.training.evaluation_weights))
        self.state = self._restored_or_new()
        self.start = int(self.state.step)
        self._unchecked: tuple[int, str, dict[str, jax.Array]] | None = None
        self._alarms = Alarms()
        self.batches, self._listed = self.feed.batches(self.program.stage, self.start), 0
        self.telemetry = Telemetry(workdir, self.stages[-1].end, self.start, self.leader)
        self._profile = StepProfile(workdir / "profile", self.telemetry.say) if profile and self.leader else None

    def _restored_or_new(self) -> TrainState:
        """The newest state that is saved; `program` is that of the stage which took its step."""
        step = self.checkpoints.newest()
        self.program = self.programs[stage_of(self.stages, step or 0).number]
        if step is None:
            return self.program.initial_state()
        restored = self.checkpoints.restore(self.program.abstract_state, step)
        self.feed.fingerprints = restored.record["fingerprints"]
        if restored.record.get("perceptual", "") != self.program.perceptual_digest:
            raise ConfigError(
                f"{self.program.stage.config.loss.perceptual_weights_file or 'the tokenizer'} is not the one that this run was "
                "started with: its weights have another digest"
            )
        return restored.state

    def train(self) -> int:
        """Runs to the last step, or to a request to stop. Returns the exit code, FINISHED or STOPPED."""
        total, stop = self.stages[-1].end, self._stop
        self.telemetry.say(self._headline(total))
        try:
            if self.start == 0:
                self._evaluate(0)
            step = self.start
            while step < total and not stop.asked(step):
                if step == self.program.stage.end:
                    self._begin_next_stage(step)
                step = self._one_step(step)
            self._check_finite()
            self._save(step)
            self.checkpoints.wait()
            finished = step >= total
            self.telemetry.say(
                f"finished at step {step}" if finished else f"stopped at step {step} and saved; the same command continues"
            )
            return FINISHED if finished else STOPPED
        finally:
            stop.restore()
            self.close()

    def _headline(self, total: int) -> str:
        parameters = sum(leaf.size for leaf in jax.tree.leaves(self.state.params))
        begin = f"resuming at step {self.start}" if self.start else "starting"
        stages = f" in {len(self.stages)} stages" if len(self.stages) > 1 else ""
        name = self.config.name or "run"
        return f"{begin}: {name}, {parameters:,} parameters, {jax.device_count()} device(s), to step {total}{stages}"

    def _begin_next_stage(self, step: int) -> None:
        """What is saved at a border is the end of the stage before, so that a run resumed there does the same."""
        before, self.program = self.program, self.programs[self.program.stage.number + 1]
        stage = self.program.stage
        carried = plan(before.shapes, self.program.shapes, stage)
        self.state = self.program.state_after(self.state)
        self.batches.close()
        self._list_records()
        self.batches, self._listed = self.feed.batches(stage, step), 0
        where = f"stage {stage.name!r}, {stage.number + 1} of {len(self.stages)}, to step {stage.end}"
        self.telemetry.say(f"step {step}: {where}: {describe(carried)}")
        self.telemetry.restart_clock(step)

    def _one_step(self, step: int) -> int:
        began = time.perf_counter()
        batch = next(self.batches)
        self.telemetry.waited(time.perf_counter() - began)
        video = self.program.inputs(batch)
        perceptual = self.program.perceptual
        with jax.transfer_guard("disallow"):  # what a step needs is on the devices
            self.state, metrics = self.program.step(self.state, video, perceptual)
        step += 1
        if self._profile:
            self._profile.after_step(metrics, lambda: sources(self.program.step.lower(self.state, video, perceptual).compile()))
        self._check_finite()
        self._unchecked = (step, batch.stream, metrics)
        self.checkpoints.check()
        self._list_records()
        stage = self.program.stage
        training, last = stage.config.training, step == stage.end
        if last:
            self._check_finite()
        if step % training.log_every == 0 or last:
            self._log(step, batch.stream, {name: float(value) for name, value in metrics.items()})
        if (step % training.checkpoint_every == 0 or last) and step < self.stages[-1].end:
            self._save(step)
        if step % training.evaluate_every == 0 or last:
            self._evaluate(step)
        return step

    def _log(self, step: int, stream: str, metrics: dict[str, float]) -> None:
        self.telemetry.log_training(step, metrics | self.batches.health())
        for sentence in self._alarms.sentences(stream, metrics):
            self.telemetry.say(f"step {step}: {sentence}")

    def _check_finite(self) -> None:
        """Looks at the step before the one just started: the device never idles, the loop is never more than a step ahead."""
        if self._unchecked is None:
            return
        (step, stream, metrics), self._unchecked = self._unchecked, None
        in_a_row = int(metrics["nonfinite"])
        if not in_a_row:
            return
        name, value = first_nonfinite({name: float(value) for name, value in metrics.items()})
        if in_a_row >= self.program.stage.config.training.nonfinite_limit:
            raise TrainingError(
                f"the loss or its gradient was not finite at step {step} (stream {stream!r}, {in_a_row} in a row; the first such "
                f"term is {name}, which is {value}), and the parameters were left as they were before it; try a lower "
                "config.optimizer.learning_rate in a new workdir, or look at that stream's records"
            )
        self.telemetry.say(f"step {step}: {name} is {value}, the step was left out ({in_a_row} in a row)")

    def _evaluate(self, step: int) -> None:
        streams = self.program.stage.config.data.validation.to_dict()
        if not streams:
            return
        if is_generator(self.program.model):
            return self._evaluate_generator(step, streams)
        how = {"open_with": self.feed.open, "judge": self.judge}
        result, pictures = validate_model(self.program.model, self.state.variables, streams, self.mesh, **how)
        scalars = scalars_of(result)
        self.telemetry.write(step, scalars)
        self.telemetry.write_pictures(step, pictures)
        values = ", ".join(f"{name} {one['psnr']:.2f} dB / {one['ssim']:.3f}" for name, one in result["streams"].items())
        self.telemetry.say(f"step {step}: held-out PSNR / SSIM: {values}")
        self._keep_best(step, scalars)
        self.telemetry.restart_clock(step)

    def _evaluate_generator(self, step: int, streams: dict[str, Any]) -> None:
        program = self.program
        tokenizer = program.tokenizer and program.tokenizer.module
        scores = validate_generator(
            program.model, self.state.variables, tokenizer, program.perceptual, streams, self.mesh, self.feed.open
        )
        scalars = {f"validation/{name}/{key}": one[key] for name, one in scores.items() for key in one}
        self.telemetry.write(step, scalars)
        for name, one in scores.items():
            self.telemetry.say(f"step {step}: held-out {name}: {', '.join(f'{key} {value:.4f}' for key, value in one.items())}")
        self._keep_best(step, scalars)
        self.telemetry.restart_clock(step)

    def _keep_best(self, step: int, scalars: dict[str, float]) -> None:
        """The weights that a run begins with are not its best, whatever their score."""
        if step and self.best.consider(step, scalars):
            self._save(step)
            self.checkpoints.wait()  # a kill before this leaves the best before it, named and protected
            self.checkpoints.protected = step
            self.best.write()

    def _save(self, step: int) -> None:
        record = {"fingerprints": self.feed.fingerprints, "processes": jax.process_count()}
        record["perceptual"] = self.program.perceptual_digest
        self.checkpoints.save(step, self.state, record)

    def _list_records(self) -> None:
        """Bad records that were met are listed in `bad_records.jsonl`, those that took long in `slow_records.jsonl`."""
        found = (self.batches.bad, self.batches.slow)
        if self.leader and sum(map(len, found)) > self._listed:
            for name, rows in zip(("bad", "slow"), found, strict=True):
                _add_records(self.workdir / f"{name}_records.jsonl", rows)
            self._listed = sum(map(len, found))

    def close(self) -> None:
        """Ends workers and writers."""
        if self._profile:
            self._profile.close()
        self.batches.close()
        self._list_records()
        self.telemetry.close()
        self.checkpoints.close()


def _add_records(path: Path, rows: list[dict[str, Any]]) -> None:
    """Keeps the lines of the run before it was resumed; a record is listed once."""
    before = path.read_text().splitlines() if path.exists() else []
    listed = {_place(json.loads(line)) for line in before}
    lines = [*before, *(json.dumps(row) for row in rows if _place(row) not in listed)]
    if len(lines) > len(before):
        write_atomically(path, "".join(line + "\n" for line in lines))


def _place(row: dict[str, Any]) -> tuple[str, str]:
    return row["stream"], row["id"]
