"""PyTorch's two file formats as tensors: the zip archive of `torch.save` since 1.6, and the plain file before it.

Every tensor is a view of the file's bytes, which are memory-mapped: nothing is allocated for what a damaged header claims.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from tokjax.conversion.torch_pickle import CheckpointError, Global, Machine

LEGACY_START = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")  # the pickled number that older files begin with
ZIP_START = b"PK\x03\x04"

_DTYPES = {"Float": np.float32, "Double": np.float64, "Half": np.float16, "BFloat16": ml_dtypes.bfloat16, "Long": np.int64}
_DTYPES |= {"Int": np.int32, "Short": np.int16, "Char": np.int8, "Byte": np.uint8, "Bool": np.bool_}
_DTYPES |= {"ComplexFloat": np.complex64, "ComplexDouble": np.complex128}


def read_zip(content: np.ndarray) -> Any:
    """What `torch.save` stored in a zip archive (its bytes, uint8 [n]), with arrays for tensors.

    Raises:
      CheckpointError: the message is the end of a sentence about the file.
    """
    try:
        archive = zipfile.ZipFile(_File(content))
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise CheckpointError(f"is cut short or damaged ({error})") from error
    entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
    if "data.pkl" not in entries:
        raise CheckpointError("is a zip archive, but no PyTorch checkpoint: it has no data.pkl")
    if "byteorder" in entries and _entry(content, entries["byteorder"]).tobytes() != b"little":
        raise CheckpointError("was written on a big-endian machine, which is not supported")

    def load_storage(name: Any) -> np.ndarray:
        dtype, key, count = _storage(name)
        if f"data/{key}" not in entries:
            raise CheckpointError(f"is damaged: it lacks the record data/{key}")
        return _typed(_entry(content, entries[f"data/{key}"]), dtype, count, key)

    return Machine(load_storage, rebuild_tensor).run(_File(_entry(content, entries["data.pkl"])))


class _File:
    """An array as a file. It never allocates more than it holds, whatever length is asked for, as Python's own buffers would."""

    def __init__(self, content: np.ndarray) -> None:
        self._content, self._position = memoryview(content), 0

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._content)}[whence]
        if start + offset < 0:
            raise ValueError("a position before the start")
        self._position = start + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        start = self._position
        part = bytes(self._content[start:] if size < 0 else self._content[start : start + size])
        self._position += len(part)
        return part

    def readline(self) -> bytes:
        """Up to a line's end, or to 64 KiB: names and numbers in a pickle are shorter."""
        part = bytes(self._content[self._position : self._position + 2**16])
        part = part[: part.find(b"\n") + 1 or len(part)]
        self._position += len(part)
        return part


def _entry(content: np.ndarray, entry: zipfile.ZipInfo) -> np.ndarray:
    """The bytes of a record. PyTorch stores them as they are, so that they are a part of the file."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise CheckpointError(f"is no PyTorch checkpoint: its record {entry.filename} is packed")
    header = content[entry.header_offset : entry.header_offset + 30].tobytes()
    start = entry.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    data = content[start : start + entry.file_size]
    if header[:4] != ZIP_START or len(data) != entry.file_size or zlib.crc32(data) != entry.CRC:
        raise CheckpointError(f"is damaged: its record {entry.filename} holds other bytes than were written")
    return data


def read_legacy(content: np.ndarray) -> Any:
    """What PyTorch before 1.6 stored (torchvision's files are of that kind), with arrays for tensors.

    Five pickles follow one another: a magic number, a version, the machine, the object, and the keys of its storages; then for
    each key the number of elements, 8 bytes, and the elements.

    Raises:
      CheckpointError: the message is the end of a sentence about the file.
    """
    file = _File(content)
    plain = Machine(_no_storage, rebuild_tensor)
    _, _, machine = (plain.run(file) for _ in range(3))
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise CheckpointError("was written on a big-endian machine, or is no PyTorch checkpoint")
    storages = _find_legacy_storages(content, file)
    return Machine(lambda name: storages(*_storage(name, views=True)), rebuild_tensor).run(file)


def _find_legacy_storages(content: np.ndarray, file: _File) -> Callable[[np.dtype, str, int], np.ndarray]:
    """The object comes before its storages: a first pass over it finds how many bytes each has. Leaves the file as it was."""
    start, declared = file.tell(), {}

    def note(name: Any) -> None:
        dtype, key, count = _storage(name, views=True)
        declared[key] = (dtype, count)

    Machine(note, lambda *_: None).run(file)
    places = {}
    keys = Machine(_no_storage, rebuild_tensor).run(file)
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in declared for key in keys):
        raise CheckpointError("is damaged: its storages are not those of its tensors")
    position = file.tell()
    for key in keys:
        dtype, count = declared[key]
        if int.from_bytes(content[position : position + 8].tobytes(), "little") != count:
            raise CheckpointError(f"is cut short or damaged at the storage {key}")
        places[key] = (position + 8, position + 8 + count * dtype.itemsize)
        position = places[key][1]
    file.seek(start)

    def load_storage(dtype: np.dtype, key: str, count: int) -> np.ndarray:
        if key not in places:
            raise CheckpointError(f"is damaged: it lacks the storage {key}")
        return _typed(content[slice(*places[key])], dtype, count, key)

    return load_storage


def _no_storage(_: Any) -> None:
    raise CheckpointError("is damaged: a tensor lies outside its object")


def _storage(name: Any, views: bool = False) -> tuple[np.dtype, str, int]:
    """(dtype, key, elements) of a persistent id: ("storage", torch.FloatStorage, key, device, elements[, None])."""
    if not isinstance(name, tuple) or len(name) != 5 + views or name[0] != "storage" or (views and name[5] is not None):
        raise CheckpointError("is no PyTorch checkpoint of tensors")
    _, kind, key, _, count = name[:5]
    dtype = _DTYPES.get(kind.name.removeprefix("torch.").removesuffix("Storage")) if isinstance(kind, Global) else None
    if dtype is None or not isinstance(key, str) or not isinstance(count, int) or count < 0:
        raise CheckpointError("is damaged: it names a storage that makes no sense")
    return np.dtype(dtype), key, count


def _typed(data: np.ndarray, dtype: np.dtype, count: int, key: str) -> np.ndarray:
    if len(data) != count * dtype.itemsize:
        raise CheckpointError(f"is cut short or damaged: the storage {key} should have {count * dtype.itemsize} bytes")
    return data.view(dtype)


def rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any) -> np.ndarray:
    """A view of a storage [n], elements `stride` apart from `offset` on.

    Raises:
      CheckpointError: it would reach outside the storage, or hold more elements than that has.
    """
    numbers = (offset, *size, *stride)
    if not isinstance(storage, np.ndarray) or not all(isinstance(n, int) and n >= 0 for n in numbers) or len(size) != len(stride):
        raise CheckpointError("is damaged: the layout of a tensor makes no sense")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) > len(storage) or (math.prod(size) and last >= len(storage)):
        raise CheckpointError(f"is damaged: a tensor of shape {tuple(size)} claims more than the {len(storage)} elements stored")
    if not math.prod(size):
        return np.empty(size, storage.dtype)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, [step * storage.itemsize for step in stride])
