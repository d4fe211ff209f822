"""The machine under a measured number: the peak arithmetic of known accelerators, and what to state beside the number."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
from typing import Any

import jax

from tokjax import __version__

# TFLOP/s of dense bfloat16 products on one device, by the makers' datasheets. PCIe and NVL boards of the H series have others.
_PEAKS = (
    (r"NVIDIA A100\b", 312),
    (r"NVIDIA H[12]00\b(?!.*(PCIe|NVL))", 989),
    (r"NVIDIA L4\b", 121),
    (r"TPU v4$", 275),
    (r"TPU v5( lite|e)", 197),
    (r"TPU v5p?$", 459),
    (r"TPU v6( lite|e)", 918),
)
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def known_peak(device_kind: str) -> float | None:
    """Peak TFLOP/s (bfloat16, dense) of one device of this `jax.Device.device_kind`; None where it is not in the table."""
    return next((float(peak) for pattern, peak in _PEAKS if re.match(pattern, device_kind)), None)


def environment(packages: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a number measured here depends on: device kind and count, versions (of `packages` too), XLA's flags, the date."""
    device = jax.devices()[0]
    versions = {name: importlib.metadata.version(name) for name in (*_PACKAGES, *packages)}
    return {
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "cpu_cores": _schedulable_cores(),
        "versions": {"tokjax": __version__, "python": platform.python_version()} | versions,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _schedulable_cores() -> int | None:
    """Cores that this process may use, which is what XLA and PyTorch go by."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
