"""What a model costs, from shapes alone: parameters, FLOPs counted from the jaxpr, memory of a training step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core


def count_flops(function: Callable, *args: Any, padding: bool = True) -> int:
    """FLOPs (2 per multiply-accumulate) of the convolutions and matrix products in `function(*args)`; args may be shapes.

    Args:
      padding: count products with the zeros of a convolution's padding, as the literature does; False leaves them out, as XLA's
        own analysis does.
    """
    return _jaxpr_flops(jax.make_jaxpr(function)(*args).jaxpr, padding)


def _jaxpr_flops(jaxpr: core.Jaxpr, padding: bool) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "conv_general_dilated":
            total += _convolution_flops(equation, padding)
        elif name == "dot_general":
            total += _product_flops(equation)
        inner = sum(_jaxpr_flops(sub, padding) for sub in _inner_jaxprs(equation))
        total += inner * (equation.params["length"] if name == "scan" else 1)
    return total


def _inner_jaxprs(equation: core.JaxprEqn) -> list[core.Jaxpr]:
    found = []
    for value in equation.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                found.append(item.jaxpr)
            elif isinstance(item, core.Jaxpr):
                found.append(item)
    return found


def _product_flops(equation: core.JaxprEqn) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)


def _convolution_flops(equation: core.JaxprEqn, padding: bool) -> int:
    """Along each axis, (output, tap) pairs that meet an input or, if asked, padding; never the holes of a dilated input."""
    params = equation.params
    numbers = params["dimension_numbers"]
    source, kernel = (variable.aval.shape for variable in equation.invars)
    output = equation.outvars[0].aval.shape
    pairs = 1
    for axis in range(len(source) - 2):
        size, taps, length = (
            source[numbers.lhs_spec[axis + 2]],
            kernel[numbers.rhs_spec[axis + 2]],
            output[numbers.out_spec[axis + 2]],
        )
        stride, before = params["window_strides"][axis], params["padding"][axis][0]
        spread, hole = params["rhs_dilation"][axis], params["lhs_dilation"][axis]
        last = (size - 1) * hole
        positions = (j * stride + k * spread - before for j in range(length) for k in range(taps))
        pairs *= sum(p % hole == 0 and (padding or 0 <= p <= last) for p in positions)
    out_features, in_features = kernel[numbers.rhs_spec[0]], kernel[numbers.rhs_spec[1]]
    return 2 * output[numbers.out_spec[0]] * pairs * out_features * in_features


def count_bytes(tree: Any) -> int:
    """Bytes of the arrays, or shapes, of a tree."""
    return sum(leaf.size * jnp.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))


def activation_bytes(function: Callable, params: Any, *args: Any) -> int:
    """Bytes of activations that differentiating `function(params, *args)` holds at once, parameters left out.

    They are what the forward pass keeps and, where parts are recomputed (remat), what the largest part keeps in its turn.
    """
    kept = _residual_bytes(function, params, *args) - count_bytes(params)
    jaxpr = jax.make_jaxpr(function)(params, *args).jaxpr
    return max(0, kept) + max((_recomputed_bytes(equation) for equation in jaxpr.eqns), default=0)


def _residual_bytes(function: Callable, *args: Any) -> int:
    """What jax.vjp's backward function carries."""
    return count_bytes(jax.eval_shape(lambda *args: jax.vjp(function, *args)[1], *args))


def _recomputed_bytes(equation: core.JaxprEqn) -> int:
    if equation.primitive.name not in ("checkpoint", "remat", "remat2"):
        return 0
    inner = equation.params["jaxpr"]
    shapes = [jax.ShapeDtypeStruct(variable.aval.shape, variable.aval.dtype) for variable in equation.invars]
    run = core.jaxpr_as_fun(core.ClosedJaxpr(inner, ()))
    return _residual_bytes(lambda *args: list(run(*args)), *shapes) - count_bytes(shapes)
