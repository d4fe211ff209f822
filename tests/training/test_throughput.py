"""Throughput: the numbers agree with each other and with what was counted and timed, and what cannot be measured is said."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_tokenizer import tiny_config
from two_products_model import WIDTH, TwoProducts, product_flops

from tokjax.losses.perceptual import lpips
from tokjax.models.convolution import CONVOLUTION_FORM
from tokjax.models.cost import count_flops
from tokjax.models.tokenizer import Tokenizer, build
from tokjax.training import throughput
from tokjax.training.sharding import make_mesh
from tokjax.training.throughput import Measurement, measure
from tokjax.training.throughput_report import best, record, table
from tokjax.training.workloads import WORKS, Clips, Workload, make_workload, random_variables, random_weights

ROOT = Path(__file__).parents[2]
MESH = make_mesh({"data": 1, "fsdp": 1, "context": 1})


@pytest.fixture(scope="module")
def measured():
    """Each kind of work on two clips of 3 x 8 x 8, with weights given for none of them."""
    options = {"config": tiny_config(), "repeats": 3, "peak_tflops": 0.5, "mesh": MESH}
    return {work: measure(TwoProducts(), None, 3, 8, 2, work, **options) for work in WORKS}


@pytest.mark.parametrize("work", WORKS)
def test_the_numbers_agree_with_each_other(measured, work):
    one = measured[work]
    assert (one.work, one.batch, one.frames, one.size, one.repeats, one.fits) == (work, 2, 3, 8, 3, True)
    assert 0 < one.fastest <= one.seconds <= one.slowest
    assert one.frames_per_second * one.seconds == pytest.approx(2 * 3)
    assert one.tflops_per_second * one.seconds * 1e12 == pytest.approx(one.flops)
    assert one.mfu == pytest.approx(one.tflops_per_second / 0.5)
    assert one.compile_seconds > 0
    assert one.memory_source == "compiler" and one.memory_bytes >= 2 * 2 * 4 * 4 * WIDTH * 4  # a CPU does not count; latents


def test_flops_are_those_counted_by_hand(measured):
    product = product_flops(2, 3, 8)
    # Backward, both weights and the latents want a gradient; the video does not.
    expected = {"encode": product, "decode": product, "reconstruct": 2 * product, "train": 5 * product}
    assert {work: one.flops for work, one in measured.items()} == expected


def test_a_training_step_is_the_whole_step_with_its_perceptual_loss():
    """What LPIPS adds is its own way forth for both videos and back to the pixels of one."""
    config, clips = tiny_config(), Clips(2, 1, 16)
    plain = throughput._flops("train", TwoProducts(), None, clips, config, MESH)
    config.loss.update({"perceptual_weight": 1.0, "perceptual_weights_file": "not read"})
    whole = throughput._flops("train", TwoProducts(), None, clips, config, MESH)
    images = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
    weights = jax.eval_shape(lambda: random_weights("vgg16"))
    distance = jax.grad(lambda x, y, weights: jnp.sum(lpips(weights, y, x)))
    assert whole - plain == count_flops(distance, images, images, weights) > 0


@pytest.mark.slow
def test_flops_are_those_of_the_direct_convolutions_without_recomputation():
    config, clips = tiny_config(), Clips(2, 3, 8)
    module = build(config.model)
    variables = jax.eval_shape(lambda: random_variables(module, MESH))
    video = jax.ShapeDtypeStruct((2, 3, 8, 8, 3), jnp.float32)
    token = CONVOLUTION_FORM.set("direct")
    direct = count_flops(lambda v, x: module.apply(v, x, method="encode").latents, variables, video)
    config.model.remat = True
    again = build(config.model)
    recomputing = make_workload("train", again, None, clips, config, MESH)
    more = count_flops(recomputing.function, *recomputing.shapes)
    CONVOLUTION_FORM.reset(token)
    assert throughput._flops("encode", module, variables, clips, None, MESH) == direct
    flops = throughput._flops("train", module, None, clips, config, MESH)
    assert throughput._flops("train", again, None, clips, config, MESH) == flops < more / 1.1


def test_what_is_timed_is_what_a_tokenizer_computes():
    module, video = TwoProducts(), np.random.default_rng(0).integers(0, 256, (2, 5, 6, 6, 3), np.uint8)
    variables = random_variables(module, MESH)
    tokenizer = Tokenizer(module, variables, None)
    encoded = tokenizer.encode(video)
    expected = np.asarray(tokenizer.decode(encoded), np.float32)
    given = {"encode": video, "decode": encoded.latents, "reconstruct": video}
    work = {name: make_workload(name, module, variables, Clips(2, 5, 6), None, MESH) for name in given}
    results = {name: jax.jit(one.function)(variables, given[name]) for name, one in work.items()}
    latents, indices = results["encode"]
    np.testing.assert_allclose(latents, encoded.latents, atol=1e-6)
    assert indices is None and latents.shape == work["decode"].shapes[1].shape
    for name in ("decode", "reconstruct"):
        grey = np.clip(np.round((np.asarray(results[name]) + 1) * 127.5), 0, 255)
        assert grey.shape == video.shape and np.abs(grey - expected).max() <= 1  # a value beside the border of two levels
    assert expected.std() > 1


@pytest.mark.parametrize("work", WORKS)
def test_inputs_are_what_was_announced_and_no_zeros(work):
    made = make_workload(work, TwoProducts(), random_variables(TwoProducts(), MESH), Clips(2, 3, 8), tiny_config(), MESH)
    tree, data = made.make()
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), made.shapes[0]
    )
    assert (data.shape, data.dtype) == (made.shapes[1].shape, made.shapes[1].dtype)
    assert np.asarray(data, np.float32).std() > 0.5


def test_the_repeats_are_the_calls_after_the_warm_up(monkeypatch):
    now, waits, given = [0.0], iter([9.0, 9.0, 1.0, 5.0, 3.0]), []

    def run(state, _):
        given.append(state)
        now[0] += next(waits)
        return state + 1, "metrics"

    run.memory_analysis = lambda: None
    monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    seconds, memory = throughput._time(run, Workload(run, (None, None), lambda: (0, 0), trains=True), 3)
    assert seconds == [1.0, 5.0, 3.0] and memory == (None, None)
    assert given == [0, 1, 2, 3, 4]  # each step starts from the state that the one before it left


def test_the_number_is_the_median(monkeypatch):
    monkeypatch.setattr(throughput, "_time", lambda *_: ([1.0, 5.0, 3.0], (None, None)))
    one = measure(TwoProducts(), None, 3, 8, 2, "encode", repeats=3, mesh=MESH)
    assert (one.seconds, one.fastest, one.slowest, one.frames_per_second, one.mfu) == (3.0, 1.0, 5.0, 2.0, None)


@pytest.mark.parametrize(("peaks", "source"), [((5, 7), "device"), ((7, 7), "compiler"), ((0, 0), "compiler")])
def test_the_device_is_believed_where_its_peak_rose(monkeypatch, peaks, source):
    left = iter(peaks)
    monkeypatch.setattr(throughput, "_device_peak", lambda: next(left))
    run = jax.jit(lambda x, y: x + y).lower(1.0, 2.0).compile()
    _, memory = throughput._time(run, Workload(run, (None, None), lambda: (1.0, 2.0)), 1)
    assert memory == ((7, "device") if source == "device" else (12, "compiler"))  # two arguments and a result of 4 bytes


def test_a_batch_that_does_not_fit_is_said_and_other_errors_are_not_hidden(monkeypatch):
    module, options = TwoProducts(), {"repeats": 1, "mesh": MESH}
    one = measure(module, None, 3, 16, 10**9, "encode", **options)  # 2 TB of input
    assert one == Measurement("encode", 10**9, 3, 16, flops=one.flops) and not one.fits

    def fails(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(throughput, "_compile", fails)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        measure(module, None, 3, 8, 1, "encode", **options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"work": "inference"}, "unknown work 'inference' to measure; there are: encode, decode, reconstruct, train"),
        ({"repeats": 0}, "frames, size, batch and repeats must be at least 1, not 0"),
        ({"batch": -1}, "frames, size, batch and repeats must be at least 1, not -1"),
        ({"frames": 4}, "pads clips of 4 frames; measure a length that it does not: 3 or 5"),
        ({"size": 9}, "pads sides of 9 pixels; measure a size that it does not: 8 or 10"),
        ({"size": 1}, "pads sides of 1 pixels; measure a size that it does not: 2"),
        ({"work": "train", "config": None}, "measuring a training step needs the config"),
        ({"work": "train", "batch": 3}, "config.training.accumulation 2 does not divide the batch of 3 clips"),
    ],
)
def test_what_cannot_be_measured_is_refused(given, message):
    config = tiny_config()
    config.training.accumulation = 2
    asked = {"frames": 3, "size": 8, "batch": 2, "work": "encode", "config": config, "mesh": MESH} | given
    with pytest.raises(ValueError) as refused:
        measure(build(config.model), None, **asked)
    assert message in str(refused.value)


def _fitting(work, batch, rate):
    known = {"seconds": 0.5, "frames_per_second": rate, "tflops_per_second": 1.0, "compile_seconds": 2.0}
    return Measurement(work, batch, 17, 256, flops=10, fits=True, repeats=3, **known)


def test_the_best_batch_of_each_kind_has_a_star():
    rows = [_fitting("encode", 1, 10.0), _fitting("encode", 2, 30.0), _fitting("encode", 4, 20.0)]
    rows += [_fitting("train", 1, 5.0), Measurement("train", 2, 17, 256, flops=20), Measurement("decode", 1, 17, 256, flops=1)]
    assert best(rows) == [rows[1], rows[3]]
    result = record("a model", "bfloat16", None, rows, "a command")
    assert [row["best"] for row in result["rows"]] == [False, True, False, True, False, False]
    lines = table(result).splitlines()
    assert "a model, clips 17x256x256, bfloat16, " in lines[0] and lines[0].endswith("peak unknown")
    assert [line.endswith(" *") for line in lines[2:]] == [row["best"] for row in result["rows"]]
    assert lines[3].split() == ["encode", "2", "500.00", "30.0", "1", "-", "2.0", "-", "*"]
    assert "does not fit into memory" in lines[6] and "does not fit into memory" in lines[7]


BARE = """
import runpy, sys
for name in ("ml_collections", "grain", "clu", "tqdm", "orbax", "tensorboardX", "av", "PIL"):
    sys.modules[name] = None  # importing it raises ImportError
import tokjax.models.tokenizer
from two_products_model import TwoProducts
tokjax.models.tokenizer.build = lambda config: TwoProducts()
runpy.run_path("benchmarks/device.py", run_name="__main__")
"""


@pytest.mark.slow
def test_the_script_for_bare_machines_on_two_devices():
    given = ["--frames=3", "--size=8", "--batch=2,4", "--what=reconstruct,train", "--repeats=2", "--peak-tflops=1"]
    given += ["--set=latent_channels=5"]
    settings = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, "-c", BARE, *given]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    head, _, *rows = run.stdout.splitlines()
    assert head == "vidtok latent_channels=5, clips 3x8x8, bfloat16, 2 x cpu, peak 1 TFLOP/s each"
    assert [row.split()[:2] for row in rows] == [[work, batch] for work in ("reconstruct", "train") for batch in "24"]
    assert all("does not fit" not in row for row in rows)


def test_a_batch_has_to_split_over_the_devices():
    two = SimpleNamespace(shape={"data": 2, "fsdp": 1, "context": 1})
    with pytest.raises(ValueError, match="a batch of 3 clips does not split over 2 devices; use a multiple of 2"):
        throughput.check(TwoProducts(), Clips(3, 3, 8), "encode", None, 1, two)
