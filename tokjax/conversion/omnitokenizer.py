"""Names and layouts of OmniTokenizer's published PyTorch state dict, and ours: one rule, used in both directions.

The published model holds tensors that no computation reads: a second norm in every attention, networks of position biases in
every stack along time (and, with fused attention, in every stack), index tables, and the codebook of a model without codes. They
are dropped on the way in. On the way out they get neutral values: gain 1, and zeros elsewhere, which for a network of biases says
that there are none. Discriminators and the perceptual network are no part of the tokenizer and are left out both ways.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.traverse_util
import jax
import numpy as np

from tokjax.models.omnitokenizer import OmniTokenizer
from tokjax.models.positions import offset_index

Path = tuple[str, ...]
Arrays = Mapping[str, np.ndarray]

PUBLISHED_CODES = 8192  # of every released model; those with continuous latents have them too, unread
LEFT_OUT = ("image_discriminator.", "video_discriminator.", "perceptual_model.")

_MODULES = {
    "encoder/to_moments": "pre_vq_conv.1",
    "decoder/from_latents": "post_vq_conv.1",
    "encoder/embedding/first_frame": "encoder.to_patch_emb_first_frame",
    "encoder/embedding/rest": "encoder.to_patch_emb",
    "decoder/unembedding/first_frame": "decoder.to_pixels_first_frame",
    "decoder/unembedding/rest": "decoder.to_pixels",
    "encoder/spatial": "encoder.enc_spatial_transformer",
    "encoder/temporal": "encoder.enc_temporal_transformer",
    "decoder/spatial": "decoder.dec_spatial_transformer",
    "decoder/temporal": "decoder.dec_temporal_transformer",
}
# Inside a block, and inside the ends of the model for a linear and a convolutional embedding.
_PARTS = {
    "position/kernel": "0.dsconv.weight",
    "position/bias": "0.dsconv.bias",
    "attention/norm/scale": "1.norm.gamma",
    "attention/norm/beta": "1.norm.beta",
    "attention/query/kernel": "1.to_q.weight",
    "attention/key_value/kernel": "1.to_kv.weight",
    "attention/query_scale": "1.q_scale",
    "attention/key_scale": "1.k_scale",
    "attention/out/kernel": "1.to_out.weight",
    "attention/qkv/kernel": "1.qkv.weight",
    "attention/bias_table": "1.relative_position_bias_table",
    "attention/projection/kernel": "1.proj.weight",
    "attention/projection/bias": "1.proj.bias",
    "resample/join/kernel": "1.pool.weight",
    "resample/join/bias": "1.pool.bias",
    "resample/linear/kernel": "1.up.2.weight",
    "resample/linear/bias": "1.up.2.bias",
    "feedforward/norm/scale": "3.0.weight",
    "feedforward/norm/bias": "3.0.bias",
    "feedforward/inner/kernel": "3.1.weight",
    "feedforward/outer/kernel": "3.4.weight",
}
_BIAS_LAYERS = {"linear_0": "0.0", "linear_1": "1.0", "linear_2": "2"}
_EMBEDDING = {"linear": {"norm_in": "1", "linear": "2", "norm_out": "3"}, "cnn": {"linear": "0", "norm": "1"}}
_UNEMBEDDING = {"linear": {"linear": "0"}, "cnn": {"linear": "1", "norm": "2"}}
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_CODEBOOK = {"embeddings": "embeddings", "counts": "N", "sums": "z_avg", "usage": "codebook_usage"}


def torch_name(path: Path, embedding: str = "linear") -> str:
    """The published name of the value at `path`, e.g. ("encoder", "spatial", "block_0", "attention", "query", "kernel").

    `embedding` is `config.model.embedding`.
    """
    if path[0] == "quantizer":
        return f"codebook.{_CODEBOOK[path[-1]]}"
    if path[1] in ("to_moments", "from_latents"):
        return f"{_MODULES['/'.join(path[:2])]}.{_LEAVES[path[-1]]}"
    if path[1] in ("spatial", "temporal"):
        return f"{_MODULES['/'.join(path[:2])]}.{stack_name(path[2:])}"
    module = _MODULES["/".join(path[:3])]
    if path[3] == "bias":  # of a convolution whose kernel is a linear layer here
        return f"{module}.{_UNEMBEDDING[embedding]['linear']}.bias"
    layers = _EMBEDDING if path[1] == "embedding" else _UNEMBEDDING
    return f"{module}.{layers[embedding][path[3]]}.{_LEAVES[path[4]]}"


def stack_name(path: Path) -> str:
    """The same for a value inside a stack, e.g. ("block_0", "attention", "query", "kernel")."""
    if path[0] == "norm_out":
        return f"norm_out.{ {'scale': 'gamma', 'beta': 'beta'}[path[1]] }"
    layer = path[0].removeprefix("block_")
    if path[1:3] == ("attention", "bias"):
        return f"layers.{layer}.1.spatial_rel_pos_bias.net.{_BIAS_LAYERS[path[3]]}.{_LEAVES[path[4]]}"
    return f"layers.{layer}.{_PARTS['/'.join(path[1:])]}"


def to_torch_layout(path: Path, value: np.ndarray, cube: tuple[int, int, int] | None = None) -> np.ndarray:
    """A value of ours in the published layout.

    `cube` is the (frames, height, width) of the strided convolution that a linear layer stands for, or None.
    """
    if path[-1] != "kernel":
        return value
    if path[-2] == "position":
        return np.moveaxis(value, -1, 0)[:, None]
    if cube and path[1] == "unembedding":
        return value.reshape(value.shape[0], 3, *cube)
    return value.T.reshape(-1, 3, *cube) if cube else value.T


def from_torch_layout(path: Path, value: np.ndarray, cube: bool = False) -> np.ndarray:
    """A published value in our layout; `cube` tells that it is a strided convolution."""
    if path[-1] != "kernel":
        return value
    if path[-2] == "position":
        return np.moveaxis(value[:, 0], 0, -1)
    flat = value.reshape(value.shape[0], -1)
    return flat if cube and path[1] == "unembedding" else flat.T


def from_torch(state: Arrays, module: OmniTokenizer) -> dict[str, Any]:
    """The model's variables from a published state dict.

    Fixed biases of norms become the collection "constants" if one of them is not zero.

    Raises:
      ValueError: a tensor is missing, is left over, or has another shape.
    """
    flat, used, template = {}, set(_unread(module)), _shapes(module)
    for path, shape, name in _pairs(module, template):
        if name is None:
            flat[path] = np.ones(shape, bool)  # a published codebook has been made from data
            continue
        expected = to_torch_layout(path[1:], np.broadcast_to(np.float32(0), shape), _cube(module, path)).shape
        flat[path] = from_torch_layout(path[1:], _take(state, name, expected), _cube(module, path) is not None)
        used.add(name)
    betas = {path: _take(state, name, shape) for path, shape, name in _betas(module, template)}
    used |= {name for _, _, name in _betas(module, template)}
    if any(np.any(beta) for beta in betas.values()):
        flat |= betas
    extra = sorted(name for name in state if name not in used and not name.startswith(LEFT_OUT) and not _counter(name))
    if extra:
        raise ValueError(f"the checkpoint has {len(extra)} tensors that this model does not know, the first is {extra[0]}")
    # reshape: NumPy makes one dimension of none.
    contiguous = {path: np.ascontiguousarray(value).reshape(value.shape) for path, value in flat.items()}
    return flax.traverse_util.unflatten_dict(contiguous)


def to_torch(variables: Mapping[str, Any], module: OmniTokenizer, unread_codes: int = PUBLISHED_CODES) -> dict[str, np.ndarray]:
    """The published state dict of our variables; `from_torch` of it gives them back bit for bit.

    `unread_codes` is the size of the codebook that a model with continuous latents gets.
    """
    state = {name: make() for name, make in _unread(module, unread_codes).items()}
    values = flax.traverse_util.flatten_dict(variables)
    for path, _, name in _pairs(module, variables):
        if name is not None:
            state[name] = to_torch_layout(path[1:], np.asarray(values[path]), _cube(module, path))
            if path[0] == "batch_stats":
                state[re.sub("running_.*", "num_batches_tracked", name)] = np.zeros((), np.int64)
    for path, shape, name in _betas(module, variables):
        state[name] = np.asarray(values.get(path, np.zeros(shape, np.float32)))
    return {name: np.ascontiguousarray(value).reshape(value.shape) for name, value in state.items()}


def _shapes(module: OmniTokenizer) -> dict[str, Any]:
    side = module.space_factor
    return jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 1, side, side, 3), np.float32))


def _pairs(module: OmniTokenizer, variables: Mapping[str, Any]) -> Iterator[tuple[Path, tuple[int, ...], str | None]]:
    """(path with its collection, our shape, published name or None where there is none) of all but the fixed biases."""
    for path, value in flax.traverse_util.flatten_dict(variables).items():
        if path[0] != "constants":
            name = None if path[-1] == "initialized" else torch_name(path[1:], module.embedding)
            yield path, tuple(value.shape), name


def _betas(module: OmniTokenizer, variables: Mapping[str, Any]) -> Iterator[tuple[Path, tuple[int, ...], str]]:
    """The same for the fixed bias of every norm that learns none: those whose gain is called `gamma`."""
    for path, shape, name in _pairs(module, variables):
        if name is not None and name.endswith(".gamma"):
            yield ("constants", *path[1:-1], "beta"), shape, name.removesuffix("gamma") + "beta"


def _cube(module: OmniTokenizer, path: Path) -> tuple[int, int, int] | None:
    """(frames, height, width) of the convolution at the ends of the model whose kernel this is; None for another value."""
    if module.embedding != "cnn" or path[2] not in ("embedding", "unembedding") or path[-1] != "kernel":
        return None
    side = module.patch * (module.upscale if path[2] == "unembedding" else 1)
    return (1 if path[3] == "first_frame" else module.time_factor, side, side)


def _take(state: Arrays, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name not in state:
        raise ValueError(f"the checkpoint lacks the tensor {name}, which this model needs; is it of another configuration?")
    tensor = np.asarray(state[name])
    if tensor.shape != tuple(shape):
        raise ValueError(f"the tensor {name} has shape {tensor.shape}, but this model needs {tuple(shape)}")
    return tensor.astype(np.float32, copy=False)


def _counter(name: str) -> bool:
    return name.endswith(".num_batches_tracked")


def _unread(module: OmniTokenizer, codes: int = PUBLISHED_CODES) -> dict[str, Callable[[], np.ndarray]]:
    """What the published model holds and never reads: name -> its neutral value."""
    made: dict[str, Callable[[], np.ndarray]] = {}
    stacks = {"encoder/spatial": module.encoder_blocks, "decoder/spatial": module.decoder_blocks}
    stacks |= dict.fromkeys(("encoder/temporal", "decoder/temporal"), "t" * module.temporal_depth)
    for stack, blocks in stacks.items():
        for i, kind in enumerate(blocks):
            prefix = f"{_MODULES[stack]}.layers.{i}.1."
            along_time = stack.endswith("temporal")
            made |= {prefix + name: make for name, make in _unread_in_attention(module, kind, along_time).items()}
    if module.quantizer.codebook_size is None:
        table = (codes, module.latent_channels)
        shapes = {"embeddings": table, "N": table[:1], "z_avg": table, "codebook_usage": table[:1]}
        made |= {f"codebook.{name}": _zeros(*shape) for name, shape in shapes.items()}
    return made


def _unread_in_attention(module: OmniTokenizer, kind: str, along_time: bool) -> dict[str, Callable[[], np.ndarray]]:
    style, d = module.style, module.width
    if kind == "w":
        return {"relative_position_index": lambda: np.asarray(offset_index(*[style.window] * 2, [style.window] * 2), np.int64)}
    if kind != "t":
        return {}
    made = {"context_norm.gamma": lambda: np.ones(d, np.float32), "context_norm.beta": _zeros(d)}
    if along_time or (style.position == "relative" and not style.explicit):
        for layer, (i, o) in {"0.0": (2, d), "1.0": (d, d), "2": (d, style.heads)}.items():
            made |= {f"spatial_rel_pos_bias.net.{layer}.weight": _zeros(o, i)}
            made |= {f"spatial_rel_pos_bias.net.{layer}.bias": _zeros(o)}
    return made


def _zeros(*shape: int) -> Callable[[], np.ndarray]:
    return lambda: np.zeros(shape, np.float32)
