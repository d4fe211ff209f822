"""The .safetensors format: a JSON header that says where each tensor lies, then the bytes of all of them.

https://huggingface.co/docs/safetensors: 8 bytes, the header's length as a little-endian integer; the header; the data.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from tokjax.conversion.torch_pickle import CheckpointError

# In the order in which the reference writer lays tensors out: the widest first, so that all stay aligned.
_DTYPES = {"I64": np.int64, "F64": np.float64, "F32": np.float32, "I32": np.int32, "BF16": ml_dtypes.bfloat16, "F16": np.float16}
_DTYPES |= {"I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}


def read_safetensors(content: np.ndarray) -> dict[str, np.ndarray]:
    """The tensors in a file's bytes (uint8 [n], mostly a memory map); they are views, nothing is copied.

    Raises:
      CheckpointError: not such a file, or one that is cut short; the message is the end of a sentence.
    """
    header, data = _header(content)
    return {name: _tensor(name, entry, data) for name, entry in header.items() if name != "__metadata__"}


def _header(content: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    length = int.from_bytes(content[:8].tobytes(), "little")
    if len(content) < 8 or length > len(content) - 8:
        raise CheckpointError("is cut short: its header is longer than the file")
    try:
        header = json.loads(content[8 : 8 + length].tobytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"is no .safetensors file: its header is no JSON ({error})") from error
    if not isinstance(header, dict):
        raise CheckpointError("is no .safetensors file: its header is no table of tensors")
    return header, content[8 + length :]


def _tensor(name: str, entry: Any, data: np.ndarray) -> np.ndarray:
    try:
        dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
        numbers = [start, stop, *shape]
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"is no .safetensors file: its header does not describe the tensor {name}") from error
    if dtype not in _DTYPES:
        raise CheckpointError(f"holds the tensor {name} in the format {dtype!r}, which is not known here")
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise CheckpointError(f"is damaged: the size of the tensor {name} is no whole number")
    if stop > len(data):
        raise CheckpointError(f"is cut short: the tensor {name} ends {stop - len(data)} bytes behind the end")
    if stop - start != math.prod(shape) * np.dtype(_DTYPES[dtype]).itemsize:
        raise CheckpointError(f"is damaged: the tensor {name} does not fill its {stop - start} bytes")
    return data[start:stop].view(_DTYPES[dtype]).reshape(shape)


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes tensors, in PyTorch's layout, to a file that must not be looked at before this returns.

    Raises:
      CheckpointError: a tensor of a type that the format has not.
    """
    for name, value in tensors.items():
        if value.dtype not in _NAMES:
            raise CheckpointError(f"{path} cannot hold the tensor {name}: .safetensors has no type {value.dtype}")
    order = sorted(tensors, key=lambda name: (list(_NAMES).index(tensors[name].dtype), name))
    header, position = {"__metadata__": {"format": "pt"}}, 0
    for name in order:
        stop = position + tensors[name].nbytes
        entry = {"dtype": _NAMES[tensors[name].dtype], "shape": list(tensors[name].shape), "data_offsets": [position, stop]}
        header[name], position = entry, stop
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            file.write(np.ascontiguousarray(tensors[name]).tobytes())
