"""Names and layouts of the published language models, DiT and Latte, and ours: one rule, used in both directions.

What can be computed is dropped on the way in, after a look whether it is what we compute (tables of places), or unread (masks of
attention, the frozen tokenizer that a language model's checkpoint carries); tables are written on the way out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax
import numpy as np

from tokjax.generation.language_model import LanguageModel
from tokjax.generation.latent_diffusion import LatentDiffusion

Path = tuple[str, ...]
Arrays = Mapping[str, np.ndarray]

_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}
_LANGUAGE_BLOCK = {"norm_attention": "ln1", "norm_mlp": "ln2", "inner": "mlp.0", "outer": "mlp.2"}
_LANGUAGE_BLOCK |= {name: f"attn.{name}" for name in ("query", "key", "value")} | {"projection": "attn.proj"}
_LANGUAGE = {"words/table": "tok_emb", "words/head": "head", "norm_out": "ln_f"}
_DIFFUSION_BLOCK = {"modulation": "adaLN_modulation.1", "qkv": "attn.qkv", "projection": "attn.proj"}
_DIFFUSION_BLOCK |= {"inner": "mlp.fc1", "outer": "mlp.fc2"}
_DIFFUSION = {"patches": "x_embedder.proj", "labels": "y_embedder.embedding_table", "time/inner": "t_embedder.mlp.0"}
_DIFFUSION |= {"time/outer": "t_embedder.mlp.2"}
_DIFFUSION |= {"final/modulation": "final_layer.adaLN_modulation.1", "final/linear": "final_layer.linear"}
_UNREAD = re.compile(r"blocks\.\d+\.attn\.mask$|first_stage_model\.|cond_stage_model\.")
_PLACES_AGREE = 1e-4  # tables are computed in float64 here and stored in float32 there


def torch_name(path: Path, language: bool) -> str:
    """The published name of the value at `path`, e.g. ("blocks_0", "query", "kernel") of a language model."""
    if path == ("places",):
        return "transformer.pos_emb"
    parts, whole = (_LANGUAGE_BLOCK, _LANGUAGE) if language else (_DIFFUSION_BLOCK, _DIFFUSION)
    if path[0].startswith("blocks_"):
        name = f"blocks.{path[0].removeprefix('blocks_')}.{parts[path[1]]}"
    else:
        name = whole["/".join(path[:-1])]
    return ("transformer." if language else "") + f"{name}.{_LEAVES[path[-1]]}"


def to_torch(params: Mapping[str, Any], module: LanguageModel | LatentDiffusion) -> dict[str, np.ndarray]:
    """The published state dict of a model's parameters."""
    language = isinstance(module, LanguageModel)
    flat = flax.traverse_util.flatten_dict(dict(params if language else params["network"]))
    state = {torch_name(path, language): _published(path, np.asarray(value), module) for path, value in flat.items()}
    return state if language else state | _tables(module)


def from_torch(tensors: Arrays, module: LanguageModel | LatentDiffusion) -> dict[str, Any]:
    """Our parameters of a published state dict, float32.

    Raises:
      ValueError: a tensor that the model lacks, does not know, or has in another shape.
    """
    language = isinstance(module, LanguageModel)
    tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    tensors = {name: value for name, value in tensors.items() if not _UNREAD.search(name)}
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), module.example()))["params"]
    wanted = flax.traverse_util.flatten_dict(shapes if language else shapes["network"])
    tables, taken = {} if language else _tables(module), {}
    for path, leaf in wanted.items():
        name = torch_name(path, language)
        if name not in tensors:
            raise ValueError(f"the checkpoint lacks {name}, which this model has")
        value = _ours(path, np.asarray(tensors[name], np.float32), module)
        if value.shape != leaf.shape:
            theirs = _published(path, np.broadcast_to(np.float32(0), leaf.shape), module).shape
            raise ValueError(f"{name} is {tensors[name].shape} in the checkpoint, but {theirs} in this model")
        taken[path] = np.ascontiguousarray(value)
    known = {torch_name(path, language) for path in wanted} | tables.keys()
    if unknown := sorted(tensors.keys() - known):
        raise ValueError(f"the checkpoint has {unknown[0]}, which this model does not know")
    for name, table in tables.items():
        _require_table(name, tensors.get(name), table)
    params = flax.traverse_util.unflatten_dict(taken)
    return params if language else {"network": params}


def _tables(module: LatentDiffusion) -> dict[str, np.ndarray]:
    place, moment = module.network.tables()
    return {"pos_embed": place[None]} | ({"temp_embed": moment[None]} if module.network.temporal else {})


def _require_table(name: str, given: np.ndarray | None, table: np.ndarray) -> None:
    if given is not None and (given.shape != table.shape or np.abs(given - table).max() > _PLACES_AGREE):
        raise ValueError(f"{name} is not the table of sines and cosines that this model computes with, of shape {table.shape}")


def _published(path: Path, value: np.ndarray, module: Any) -> np.ndarray:
    if path == ("places",):
        return value[None]
    if path == ("patches", "kernel"):
        p = module.network.patch
        return value.reshape(p, p, -1, value.shape[-1]).transpose(3, 2, 0, 1)
    return value.T if path[-1] == "kernel" else value


def _ours(path: Path, value: np.ndarray, module: Any) -> np.ndarray:
    if path == ("places",):
        return value.reshape(value.shape[-2:])
    if path == ("patches", "kernel") and value.ndim == 4:
        return value.transpose(2, 3, 1, 0).reshape(-1, value.shape[0])
    return value.T if path[-1] == "kernel" else value
