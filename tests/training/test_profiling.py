"""Traces of steps, and the report of what took longest."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from tokjax.training.compiled import sources
from tokjax.training.profiling import SKIPPED, TRACED, StepProfile, operation_seconds, report


def test_seconds_are_added_up_for_each_operation(tmp_path):
    events = [{"dur": 1500, "args": {"hlo_op": "dot.1"}}, {"dur": 500, "args": {"hlo_op": "dot.1"}}]
    events += [{"dur": 250, "args": {"hlo_op": "add.2"}}, {"dur": 9e9, "args": {}}, {"ph": "M", "args": {"name": "x"}}]
    for run, found in (("1", events[:1]), ("2", events)):
        folder = tmp_path / "plugins" / "profile" / run
        folder.mkdir(parents=True)
        (folder / "host.trace.json.gz").write_bytes(gzip.compress(json.dumps({"traceEvents": found}).encode()))
    assert operation_seconds(tmp_path) == pytest.approx({"dot.1": 0.002, "add.2": 0.00025})
    assert operation_seconds(tmp_path / "none") == {}


def test_the_report_names_five_and_their_share():
    lines = report({f"op.{n}": n / 10 for n in range(1, 7)}, {"op.6": "decoder/conv_out"})
    assert len(lines) == 6 and lines[0].startswith("profile: 2.1 s in operations of 3 steps; the 5 largest")
    assert lines[1].split() == ["28.6%", "600.0", "ms", "op.6", "decoder/conv_out"]
    assert report({}, {}) == ["profile: this device's trace does not name operations; look at it in TensorBoard"]


def test_a_trace_of_real_steps_names_what_was_computed(tmp_path):
    said, step, x = [], jax.jit(lambda x: x @ x / 300), jnp.ones((300, 300))
    compiled = step.lower(x).compile()
    profile = StepProfile(tmp_path, said.append)
    for _ in range(SKIPPED + TRACED + 1):
        x = step(x)
        profile.after_step(x, lambda: sources(compiled))
    profile.close()
    assert said[0] == f"profile: {tmp_path} holds a trace of the steps 3 to 5 since the start"
    assert any("dot_general" in line for line in said[2:]), said


def test_a_run_that_ends_early_keeps_what_was_traced(tmp_path):
    said, profile = [], StepProfile(tmp_path, lambda line: said.append(line))
    for _ in range(SKIPPED + 1):
        profile.after_step(jnp.ones(1), dict)
    profile.close()
    assert said == [f"profile: {tmp_path} holds a trace of the steps 3 to 3 since the start"]
    assert list(tmp_path.glob("plugins/profile/*/*"))
