"""Stand-ins for the networks behind FID and FVD that are quick: features are the colours of the quarters of a frame or clip."""

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from conftest import QUICK

from tokjax.evaluation import judge

LABELS = {"inception": "fid", "i3d": "fvd"}


def simple_features(rule, params, levels):
    """Means of the four quarters: of frames [b*t,12], of clips [b,12]; the weights scale them."""
    b, t, h, w, c = levels.shape
    quarters = levels.reshape(b, t, 2, h // 2, 2, w // 2, c).mean((3, 5)).reshape(b * t, -1)
    features = quarters if rule.network == "inception" else quarters.reshape(b, t, -1).mean(1)
    return features * jnp.asarray(params), jnp.pad(features[:, :8] / 50, ((0, 0), (0, 1000)))


def use_simple_networks(monkeypatch):
    """Their weights, in place of those of Inception and I3D, which nothing calls any more."""
    monkeypatch.setattr(judge, "features", simple_features)
    return simple_weights()


def simple_weights():
    about = {network: {"digest": f"digest of {network}", "sources": {}} for network in LABELS}
    return {network: types.SimpleNamespace(network=network, about=about[network], params=np.float32(0.1)) for network in LABELS}


ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, sys
from pathlib import Path
sys.path[:0] = ["tests", "tests/evaluation"]
import jax
import {module} as here
import simple_networks
simple_networks.judge.features = simple_networks.simple_features
assert jax.device_count() == 4
data, output = map(Path, sys.argv[1:])
setup = here.setup(data, output, simple_networks.simple_weights())
print(json.dumps(here.run({arguments})[0]["streams"]))
"""


def streams_on_four_devices(module, arguments, data, output):
    """The results of `run(arguments)` of a test module in a process of its own with four devices, and these networks."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=4 {QUICK}"
    command = [sys.executable, "-c", SCRIPT.format(module=module, arguments=arguments), str(data), str(output)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
