"""The one training loop: restore, step, log, evaluate, save, stop."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from tokjax.config import ConfigError, from_json, to_json, validate
from tokjax.data.pipeline import Batches, training_batches
from tokjax.data.sources import open_source
from tokjax.evaluation.validation import validate_model
from tokjax.models.tokenizer import build
from tokjax.training import sharding
from tokjax.training.checkpoints import Checkpoints
from tokjax.training.optimizers import make_optimizer
from tokjax.training.saved_steps import finished_steps
from tokjax.training.state import TrainState, initial_state
from tokjax.training.step import make_train_step
from tokjax.training.telemetry import Telemetry
from tokjax.training.workdir import write_atomically

FINISHED, STOPPED = 0, 75


class TrainingError(RuntimeError):
    """The run cannot go on; the message is one sentence for the user."""


class _StopSignal:
    """Turns SIGTERM and Ctrl-C into a request that the loop meets at the next step; a second Ctrl-C interrupts at once.

    In a run of several processes SIGTERM is left to jax: its service hears it on any process and stops all at the same step.
    """

    def __init__(self) -> None:
        self._asked = False
        ours = (signal.SIGTERM, signal.SIGINT) if jax.process_count() == 1 else ()
        self._previous = {number: signal.signal(number, self._ask) for number in ours}

    def _ask(self, number: int, frame: Any) -> None:
        self._asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def asked(self, step: int) -> bool:
        if jax.process_count() == 1:
            return self._asked
        from jax.experimental import multihost_utils

        return multihost_utils.reached_preemption_sync_point(step)

    def restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class Run:
    """A training run in a workdir. The caller holds the workdir's lock."""

    def __init__(self, config: ConfigDict, workdir: Path) -> None:
        validate(config)
        self.config, self.workdir, self.leader = config, workdir, jax.process_index() == 0
        if not config.data.train:
            raise ConfigError("config.data.train has no stream; add one with tokjax.config.stream")
        for stream in (*config.data.train.values(), *config.data.validation.values()):
            open_source(stream.to_dict())  # a mistyped path is found out before anything is compiled or written
        self._stop = _StopSignal()
        _claim_workdir(config, workdir, self.leader)
        self.mesh = sharding.make_mesh(config.mesh)
        self.model = build(config.model)
        self.optimizer = make_optimizer(config.optimizer, config.training.steps)
        self.checkpoints = Checkpoints(workdir / "checkpoints", config.training.keep_checkpoints)
        self.state, record = self._restored_or_new()
        self.start = int(self.state.step)
        self._unchecked: tuple[int, str, jax.Array] | None = None
        self.batches, self._listed = self._open_data(record), 0
        self.telemetry = Telemetry(workdir, config.training.steps, self.start, self.leader)
        replicated = sharding.replicated(self.mesh)
        self.step = jax.jit(
            make_train_step(self.model, self.optimizer, config),
            out_shardings=(self.shardings, replicated),
            donate_argnums=0,
        )

    def _restored_or_new(self) -> tuple[TrainState, Mapping[str, Any]]:
        make = partial(initial_state, self.model, self.optimizer, self.config.seed, self.config.optimizer.ema_decay > 0)
        shapes = jax.eval_shape(make)
        self.shardings = sharding.parameter_sharding(shapes, self.mesh)
        abstract = jax.tree.map(
            lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), shapes, self.shardings
        )
        restored = self.checkpoints.restore(abstract)
        if restored is None:
            return jax.jit(make, out_shardings=self.shardings)(), {}
        return restored.state, restored.record

    def _open_data(self, record: Mapping[str, Any]) -> Batches:
        data = self.config.data.to_dict()
        batches = training_batches(
            data["train"],
            seed=self.config.seed,
            start=self.start,
            host=jax.process_index(),
            hosts=jax.process_count(),
            workers=data["workers"],
            bad_share=data["bad_share"],
        )
        before = record.get("fingerprints", batches.fingerprints)
        changed = [name for name, value in batches.fingerprints.items() if before.get(name) != value]
        if changed:
            batches.close()
            raise TrainingError(
                f"the data of stream {changed[0]!r} is not what this run was started with (files were added, removed or "
                "replaced); restore the data or start in a new workdir"
            )
        return batches

    def train(self) -> int:
        """Runs to the last step, or to a request to stop. Returns the exit code, FINISHED or STOPPED."""
        total, stop = self.config.training.steps, self._stop
        self.telemetry.say(self._headline(total))
        try:
            if self.start == 0:
                self._evaluate(0)
            step = self.start
            while step < total and not stop.asked(step):
                step = self._one_step(step, total)
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
        return f"{begin}: {self.config.name or 'run'}, {parameters:,} parameters, {jax.device_count()} device(s), to step {total}"

    def _one_step(self, step: int, total: int) -> int:
        began = time.perf_counter()
        batch = next(self.batches)
        self.telemetry.waited(time.perf_counter() - began)
        self.state, metrics = self.step(self.state, sharding.global_batch(self.mesh, batch.video))
        step += 1
        self._check_finite()
        self._unchecked = (step, batch.stream, metrics["nonfinite"])
        self.checkpoints.check()
        self._list_bad_records()
        training = self.config.training
        if step % training.log_every == 0 or step == total:
            self.telemetry.log_training(step, {name: float(value) for name, value in metrics.items()})
        if step % training.checkpoint_every == 0 and step < total:
            self._save(step)
        if step % training.evaluate_every == 0 or step == total:
            self._evaluate(step)
        return step

    def _check_finite(self) -> None:
        """Looks at the step before the one just started: the device never idles, the loop is never more than a step ahead."""
        if self._unchecked is None:
            return
        (step, stream, count), self._unchecked = self._unchecked, None
        in_a_row = int(count)
        if in_a_row >= self.config.training.nonfinite_limit:
            raise TrainingError(
                f"the loss or its gradient was not finite at step {step} (stream {stream!r}, {in_a_row} in a row), and the "
                "parameters were left as they were before it; try a lower config.optimizer.learning_rate in a new workdir, or "
                "look at that stream's records"
            )
        if in_a_row:
            self.telemetry.say(f"step {step}: loss or gradient not finite, the step was left out ({in_a_row} in a row)")

    def _evaluate(self, step: int) -> None:
        if not self.config.data.validation:
            return
        params = self.state.params if self.state.ema is None else self.state.ema
        result, pictures = validate_model(self.model, params, self.config.data.validation.to_dict(), self.mesh)
        scalars = {f"validation/{name}/{key}": one[key] for name, one in result["streams"].items() for key in ("psnr", "ssim")}
        if result["codebook"]:
            scalars |= {f"validation/codebook/{key}": result["codebook"][key] for key in ("usage", "perplexity")}
        self.telemetry.write(step, scalars)
        self.telemetry.write_pictures(step, pictures)
        values = ", ".join(f"{name} {one['psnr']:.2f} dB / {one['ssim']:.3f}" for name, one in result["streams"].items())
        self.telemetry.say(f"step {step}: held-out PSNR / SSIM: {values}")
        self.telemetry.restart_clock(step)

    def _save(self, step: int) -> None:
        record = {"fingerprints": self.batches.fingerprints, "processes": jax.process_count()}
        self.checkpoints.save(step, self.state, record)

    def _list_bad_records(self) -> None:
        """Every bad record that was met is listed in `bad_records.jsonl`."""
        if self.leader and len(self.batches.bad) > self._listed:
            _add_bad_records(self.workdir / "bad_records.jsonl", self.batches.bad)
            self._listed = len(self.batches.bad)

    def close(self) -> None:
        """Ends workers and writers."""
        self.batches.close()
        self._list_bad_records()
        self.telemetry.close()
        self.checkpoints.close()


def _claim_workdir(config: ConfigDict, workdir: Path, leader: bool) -> None:
    """Writes the config into the workdir, after a check that a run saved there trains the same thing."""
    path = workdir / "config.json"
    if path.exists() and finished_steps(workdir / "checkpoints"):
        _refuse_other_config(from_json(path.read_text()), config, workdir)
    if leader:
        write_atomically(path, to_json(config))


def _refuse_other_config(old: ConfigDict, new: ConfigDict, workdir: Path) -> None:
    """What a run computes must not change under it; how long, how often and where it computes may."""
    free = ("training.", "mesh.", "data.workers", "data.bad_share", "data.validation.", "name")
    before, after = _flat(old.to_dict()), _flat(new.to_dict())
    for key in sorted(before.keys() | after.keys()):
        if not key.startswith(free) and before.get(key) != after.get(key):
            raise ConfigError(
                f"{workdir} holds a run with another config: config.{key} is {before.get(key)!r} there and {after.get(key)!r} "
                "here; give another --workdir"
            )


def _add_bad_records(path: Path, rows: list[dict[str, str]]) -> None:
    """Keeps the lines of the run before it was resumed; a record is listed once."""
    before = path.read_text().splitlines() if path.exists() else []
    lines = dict.fromkeys([*before, *(json.dumps(row) for row in rows)])
    write_atomically(path, "".join(line + "\n" for line in lines))


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in node.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
