"""Peaks of known devices, and what is stated beside a number."""

import datetime

import jax
import numpy as np
import pytest

from tokjax import __version__
from tokjax.training.hardware import environment, known_peak


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H200", 989.0),
        ("NVIDIA H100 PCIe", None),  # 756
        ("NVIDIA H100 NVL", None),  # 835
        ("NVIDIA L4", 121.0),
        ("NVIDIA L40S", None),
        ("TPU v4", 275.0),
        ("TPU v4 lite", None),
        ("TPU v5 lite", 197.0),
        ("TPU v5e", 197.0),
        ("TPU v5p", 459.0),
        ("TPU v5", 459.0),  # what a v5p calls itself
        ("TPU v6 lite", 918.0),
        ("TPU v6e", 918.0),
        ("cpu", None),
    ],
)
def test_peaks(kind, peak):
    assert known_peak(kind) == peak


def test_environment(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_some_flag=1")
    found = environment(("pytest",))
    assert found["device"] == {"platform": "cpu", "kind": "cpu", "count": jax.device_count()}
    versions = found["versions"]
    assert (versions["tokjax"], versions["jax"], versions["numpy"]) == (__version__, jax.__version__, np.__version__)
    assert versions["pytest"] == pytest.__version__
    assert found["xla_flags"] == "--xla_some_flag=1" and found["cpu_cores"] >= 1
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(found["date"])
    assert datetime.timedelta(0) <= age < datetime.timedelta(minutes=1)
