"""The distinct convolutions of VidTok (causal v1.1), each as a pair of calls: PyTorch's and ours."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from diffusers import AutoencoderVidTok

from tokjax.models.convolution import convolve


class Pair(NamedTuple):
    """The same computation twice.

    Attributes:
      torch: PyTorch's call.
      tokjax: ours.
      convert: PyTorch's result, as numpy, to the layout of ours.
    """

    torch: Callable[[], torch.Tensor]
    tokjax: Callable[[], jax.Array]
    convert: Callable[[np.ndarray], np.ndarray]


class Form(NamedTuple):
    """A convolution as PyTorch sees it: source [n,i,...] and kernel [o,i,...] with 1 (time), 2 (a frame) or 3 axes."""

    source: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[int, ...]

    def __str__(self) -> str:
        sizes = ["x".join(map(str, shape)) for shape in (self.source, self.kernel, self.strides)]
        return f"conv{len(self.strides)}d {sizes[0]} * {sizes[1]} / {sizes[2]}"


def forms(channels: int, frames: int, size: int) -> Counter[Form]:
    """Every convolution that encoding and decoding one clip runs, and how often; from shapes, nothing is computed."""
    found: Counter[Form] = Counter()

    def note(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], _: Any) -> None:
        found[Form(tuple(inputs[0].shape), tuple(module.weight.shape), module.stride, module.padding)] += 1

    with torch.device("meta"):
        model = AutoencoderVidTok(ch=channels).eval().to("meta")  # its constructor leaves some parameters behind
        for module in model.modules():
            if isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d):
                module.register_forward_hook(note)
        model(torch.zeros(1, 3, frames, size, size), sample_posterior=False)
    return found


def convolution_pairs(channels: int, frames: int, size: int) -> Iterator[tuple[str, Pair]]:
    """("how often x which", the two calls), most arithmetic first; arrays are made as each is asked for."""
    found = forms(channels, frames, size)

    def work(form: Form) -> int:
        positions = math.prod(form.source[2:]) // math.prod(form.strides)
        return found[form] * form.source[0] * positions * math.prod(form.kernel)

    for form in sorted(found, key=work, reverse=True):
        yield f"{found[form]:>2} x {form}", _pair(form)


def _pair(form: Form) -> Pair:
    rng, axes = np.random.default_rng(0), len(form.strides)
    source = rng.standard_normal(form.source, np.float32)
    kernel = rng.standard_normal(form.kernel, np.float32)
    theirs = (torch.nn.functional.conv1d, torch.nn.functional.conv2d, torch.nn.functional.conv3d)[axes - 1]
    arguments = (torch.from_numpy(source), torch.from_numpy(kernel), None, form.strides, form.padding)
    strides, padding = _three(form.strides, 1), _three(form.padding, 0)
    ours = jax.jit(partial(convolve, strides=strides, pads=[(pad, pad) for pad in padding]))
    taps = np.moveaxis(kernel, (0, 1), (-1, -2)).reshape(*_three(form.kernel[2:], 1), form.kernel[1], form.kernel[0])
    x, k = jax.device_put(_clips(source)), jax.device_put(taps)
    return Pair(lambda: theirs(*arguments), lambda: ours(x, k), _clips)


def _three(values: tuple[int, ...], rest: int) -> tuple[int, ...]:
    """Values for time, height and width, from those for the axes that PyTorch's convolution has."""
    return {1: (*values, rest, rest), 2: (rest, *values), 3: values}[len(values)]


def _clips(array: np.ndarray) -> np.ndarray:
    """PyTorch's source or result as [b,t,h,w,c]: its frames are a batch of images, its time series one clip of square frames."""
    array = np.moveaxis(array, 1, -1)
    if array.ndim == 4:
        return array[:, None]
    if array.ndim == 3:
        positions, frames, width = array.shape
        side = math.isqrt(positions)
        return np.ascontiguousarray(array.swapaxes(0, 1)).reshape(1, frames, side, side, width)
    return array
