"""PyTorch's file formats written byte by byte, from their description alone, so that the reader is tested without PyTorch."""

import io
import pickle
import struct
import zipfile

import numpy as np

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def whole(number):
    return b"J" + struct.pack("<i", number)


def text(word):
    return b"X" + struct.pack("<I", len(word)) + word.encode()


def reference(name):
    module, _, attribute = name.rpartition(".")
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def several(*items):
    return b"(" + b"".join(items) + b"t"


def tensor(kind, key, count, offset, size, stride, legacy=False):
    """The pickle of one tensor: a call of the rebuilding function with a persistent id of its storage."""
    storage = [text("storage"), reference(f"torch.{kind}Storage"), text(key), text("cpu"), whole(count)]
    storage = several(*storage, *([b"N"] if legacy else [])) + b"Q"
    hooks = reference("collections.OrderedDict") + b")R"
    layout = [storage, whole(offset), several(*map(whole, size)), several(*map(whole, stride)), b"\x89", hooks]
    return reference("torch._utils._rebuild_tensor_v2") + several(*layout) + b"R"


def table(entries):
    """A pickled dict of names and pickles."""
    return b"}(" + b"".join(text(name) + value for name, value in entries.items()) + b"u"


def stored(state):
    """(a pickled state dict of these arrays, float32 or int64; their storages)."""
    arrays = {name: np.ascontiguousarray(value).reshape(value.shape) for name, value in state.items()}
    storages = {str(number): value.tobytes() for number, value in enumerate(arrays.values())}
    entries = {}
    for number, (name, value) in enumerate(arrays.items()):
        kind = {np.dtype(np.float32): "Float", np.dtype(np.int64): "Long"}[value.dtype]
        strides = [step // value.itemsize for step in value.strides]
        entries[name] = tensor(kind, str(number), value.size, 0, value.shape, strides)
    return table(entries), storages


def document(body):
    return b"\x80\x02" + body + b"."


def zipped(body, storages, **more):
    """A file as torch.save writes it: the pickle and the storages as records of an archive, not packed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", document(body))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", more.get("byteorder", "little"))
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key}", content)
    return file.getvalue()


def legacy(body, storages, little_endian=True):
    """A file as PyTorch before 1.6 wrote it. `storages`: key -> (number of elements, bytes)."""
    machine = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = b"".join(pickle.dumps(value, 2) for value in (LEGACY_MAGIC, 1001, machine))
    keys = pickle.dumps(sorted(storages), 2)
    return (
        head
        + document(body)
        + keys
        + b"".join(struct.pack("<q", storages[key][0]) + storages[key][1] for key in sorted(storages))
    )
