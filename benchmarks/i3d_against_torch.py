"""Features for FVD: I3D in tokjax against the same network in PyTorch, same weights, same clips, float32, CPU.

    python benchmarks/i3d_against_torch.py --clips 2 --frames 17 --repeats 5

The PyTorch side is built here as its users' ports are: TensorFlow's padding, 3-D convolutions, batch normalisation in evaluation
mode, eager. Logits are compared first; where they differ by more than 1e-4 nothing is timed. Then the two take turns in one
process; a number is the median, and a ratio above 1 says that tokjax is faster.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

import jax
import numpy as np
import torch
import torch.nn.functional as F
from flax.traverse_util import flatten_dict

from tokjax.evaluation.i3d import I3D, LAYERS, SIDE

EPSILON = 1e-3
PAUSE = 0.05  # seconds between turns, for the threads of the other side to go to sleep
STEM = ("Conv3d_2b_1x1", "Conv3d_2c_3x3")


def random_params(seed: int = 0) -> dict[str, Any]:
    """Of our module; activations keep their size."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(I3D(EPSILON).init, jax.random.key(0), jax.ShapeDtypeStruct((1, 9, SIDE, SIDE, 3), np.float32))

    def one(path: Any, leaf: Any) -> np.ndarray:
        name = path[-1].key
        spread = (2 / np.prod(leaf.shape[:-1])) ** 0.5 if name.endswith("kernel") else 0.02
        return (rng.normal(0, spread, leaf.shape) + (name in ("scale", "variance"))).astype(np.float32)

    return jax.tree_util.tree_map_with_path(one, shapes["params"])


class TorchI3D(torch.nn.Module):
    """The network on clips [b,3,t,224,224] in -1..1."""

    def __init__(self, params: dict[str, Any]) -> None:
        super().__init__()
        self.arrays = {".".join(path): torch.from_numpy(_torch_layout(value)) for path, value in flatten_dict(params).items()}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = _maximum(self.unit("Conv3d_1a_7x7", x, 2), (1, 3, 3), (1, 2, 2))
        for name in STEM:
            x = self.unit(name, x)
        x = _maximum(x, (1, 3, 3), (1, 2, 2))
        for name, layer in LAYERS.items():
            x = _maximum(x, *layer) if isinstance(layer, tuple) else self.mixed(name, x)
        x = F.avg_pool3d(x, (2, 7, 7), 1)
        kernel, bias = self.arrays["logits.kernel"], self.arrays["logits.bias"]
        return F.conv3d(x, kernel[:, :, None, None, None], bias)[..., 0, 0].mean(2)

    def mixed(self, name: str, x: torch.Tensor) -> torch.Tensor:
        b1 = self.unit(f"{name}.b1b", self.unit(f"{name}.b1a", x))
        b2 = self.unit(f"{name}.b2b", self.unit(f"{name}.b2a", x))
        b3 = self.unit(f"{name}.b3b", _maximum(x, (3, 3, 3), (1, 1, 1)))
        return torch.cat([self.unit(f"{name}.b0", x), b1, b2, b3], 1)

    def unit(self, name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        kernel, scale, bias, mean, variance = (
            self.arrays[f"{name}.{leaf}"] for leaf in ("kernel", "scale", "bias", "mean", "variance")
        )
        x = F.conv3d(_same(x, kernel.shape[2:], (stride,) * 3), kernel, stride=stride)
        return F.relu(F.batch_norm(x, mean, variance, scale, bias, eps=EPSILON), inplace=True)


def _torch_layout(value: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(value, (-1, -2), (0, 1)) if value.ndim > 1 else value)


def _same(x: torch.Tensor, window: Any, strides: Any) -> torch.Tensor:
    """TensorFlow's padding."""
    pads: list[int] = []
    for size, side, stride in zip(x.shape[:1:-1], reversed(tuple(window)), reversed(tuple(strides)), strict=True):
        total = max((-(-size // stride) - 1) * stride + side - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads) if any(pads) else x


def _maximum(x: torch.Tensor, window: Any, strides: Any) -> torch.Tensor:
    return F.max_pool3d(_same(x, window, strides), window, strides)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of PyTorch; tokjax takes all cores")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    params = random_params()
    clips = np.random.default_rng(0).uniform(-1, 1, (given.clips, given.frames, SIDE, SIDE, 3)).astype(np.float32)
    theirs, theirs_in = TorchI3D(params).eval(), torch.from_numpy(np.moveaxis(clips, -1, 1).copy())
    ours, placed, ours_in = jax.jit(lambda params, x: I3D(EPSILON).apply({"params": params}, x)), jax.device_put(params), clips
    with torch.inference_mode():
        expected = theirs(theirs_in).numpy()
        found = np.asarray(ours(placed, ours_in))
        difference = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        if difference > 1e-4:
            raise SystemExit(f"the logits differ by {difference:.1e}; nothing is timed")
        times: dict[str, list[float]] = {"PyTorch": [], "tokjax": []}
        runs = {"PyTorch": lambda: theirs(theirs_in), "tokjax": lambda: np.asarray(ours(placed, ours_in))}
        for _ in range(given.repeats):
            for name, run in runs.items():
                time.sleep(PAUSE)
                began = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"jax {jax.__version__}, PyTorch {torch.__version__}, {given.threads} threads, load average {os.getloadavg()[0]:.1f}")
    print(f"{given.clips} clips of {given.frames} frames, median of {given.repeats}, logits differ by {difference:.1e}")
    for name, seconds in medians.items():
        print(f"{name}: {seconds:.3f} s, {given.clips * given.frames / seconds:.1f} frames/s")
    print(f"ratio {medians['PyTorch'] / medians['tokjax']:.2f}")


if __name__ == "__main__":
    main()
