"""The reader of PyTorch's files: layouts by hand and by PyTorch itself, damage, claims that are too large, and malice."""

import argparse
import os
import pickle
import resource
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest
from handmade_checkpoints import document, legacy, reference, several, table, tensor, text, whole, zipped

from tokjax.conversion.checkpoint_files import CheckpointError, StandIn, read_checkpoint

FLOATS = np.arange(24, dtype="<f4")
BYTES = {
    "0": FLOATS.tobytes(),
    "1": np.array([-1.5, 2.0], ml_dtypes.bfloat16).tobytes(),
    "2": np.array([3, -(2**40)], "<i8").tobytes(),
    "3": b"\x01\x00",
    "4": np.array([0.5], "<f2").tobytes(),
}
COUNTS = {"0": 24, "1": 2, "2": 2, "3": 2, "4": 1}
LAYOUTS = {
    "plain": ("Float", "0", 0, (4, 6), (6, 1)),
    "turned": ("Float", "0", 0, (6, 4), (1, 6)),
    "part": ("Float", "0", 7, (2, 3), (6, 2)),
    "scalar": ("Float", "0", 5, (), ()),
    "nothing": ("Float", "0", 0, (0, 3), (3, 1)),
    "bfloat16": ("BFloat16", "1", 0, (2,), (1,)),
    "whole": ("Long", "2", 0, (2,), (1,)),
    "truth": ("Bool", "3", 0, (2,), (1,)),
    "half": ("Half", "4", 0, (1,), (1,)),
}
EXPECTED = {
    "plain": FLOATS.reshape(4, 6),
    "turned": FLOATS.reshape(4, 6).T,
    "part": np.array([[7, 9, 11], [13, 15, 17]], np.float32),
    "scalar": np.float32(5),
    "nothing": np.zeros((0, 3), np.float32),
    "bfloat16": np.array([-1.5, 2.0], ml_dtypes.bfloat16),
    "whole": np.array([3, -(2**40)]),
    "truth": np.array([True, False]),
    "half": np.array([0.5], np.float16),
}


def handmade(kind, layouts=LAYOUTS, storages=BYTES, nested=False):
    old = kind == "legacy"
    body = table({name: tensor(k, key, COUNTS[key], *rest, legacy=old) for name, (k, key, *rest) in layouts.items()})
    body = table({"epoch": whole(3), "state_dict": body}) if nested else body
    used = {layout[1] for layout in layouts.values()} if old else storages
    return legacy(body, {key: (COUNTS[key], storages[key]) for key in used}) if old else zipped(body, storages)


def read(tmp_path, content):
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    return read_checkpoint(path)


def refused(tmp_path, content):
    with pytest.raises(CheckpointError) as refusal:
        read(tmp_path, content)
    message = str(refusal.value)
    assert message.startswith(f"{tmp_path / 'x.ckpt'} ") and "\n" not in message
    return message


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_types_strides_and_offsets(tmp_path, kind, nested):
    file = read(tmp_path, handmade(kind, nested=nested))
    assert file.tensors.keys() == EXPECTED.keys() and file.rest == ({"epoch": 3} if nested else {})
    for name, expected in EXPECTED.items():
        assert file.tensors[name].dtype == expected.dtype, name
        np.testing.assert_array_equal(file.tensors[name], expected, err_msg=name)


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_a_file_cut_anywhere_is_refused(tmp_path, kind):
    content = handmade(kind, {"plain": LAYOUTS["plain"]}, {"0": BYTES["0"]})
    for length in [*range(0, len(content), 37), len(content) - 1]:
        refused(tmp_path, content[:length])


def test_a_turned_bit_in_the_archive_is_found(tmp_path):
    content = bytearray(handmade("zip"))
    content[content.index(BYTES["0"]) + 5] ^= 1
    assert "its record archive/data/0 holds other bytes than were written" in refused(tmp_path, content)


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (5, 6), (6, 1)),
        (24, (1,), (1,)),
        (0, (2,), (24,)),
        (0, (1 << 30, 1 << 30), (0, 0)),
        (0, (25,), (0,)),
        (-1, (2,), (1,)),
    ],
)
def test_a_tensor_stays_inside_its_storage(tmp_path, kind, offset, size, stride):
    message = refused(tmp_path, handmade(kind, {"x": ("Float", "0", offset, size, stride)}))
    assert "claims more than the 24 elements stored" in message or "layout of a tensor makes no sense" in message


@pytest.mark.parametrize(("kind", "count"), [("zip", 23), ("zip", 25), ("legacy", 25), ("zip", 1 << 30), ("legacy", -1)])
def test_a_storage_has_the_size_it_claims(tmp_path, monkeypatch, kind, count):
    monkeypatch.setitem(COUNTS, "0", count)
    message = refused(tmp_path, handmade(kind, {"x": ("Float", "0", 0, (1,), (1,))}))
    assert "storage 0 should have" in message or "names a storage that makes no sense" in message


CLAIMS = {
    "a long byte string": b"\x8e" + struct.pack("<Q", 1 << 40),
    "a long text": b"\x8d" + struct.pack("<Q", 1 << 40),
    "a long number": b"\x8b" + struct.pack("<i", (1 << 31) - 1),
    "a far memory": b"N" + b"r" + struct.pack("<I", (1 << 32) - 1),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_claims_allocate_nothing(tmp_path, claim):
    """In a process that may not have more than 2 GiB: Python's own unpickler asks for up to 64 GiB here."""
    (tmp_path / "x.ckpt").write_bytes(legacy(CLAIMS[claim] + b"0" * 9, {}))
    code = (
        "import sys, resource, pathlib\nfrom tokjax.conversion.checkpoint_files import CheckpointError, read_checkpoint\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "try:\n    read_checkpoint(pathlib.Path(sys.argv[1]))\nexcept CheckpointError as error:\n    print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "x.ckpt"], capture_output=True, text=True)
    assert "holds a" in run.stdout, run.stderr
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != 2 << 30


class Payload:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("function", [os.mkdir, os.system, eval, exec, getattr, __import__])
def test_a_payload_is_named_and_not_run(tmp_path, kind, protocol, function):
    marker = str(tmp_path / "was_run")
    arguments = {os.mkdir: (marker,), os.system: (f"mkdir {marker}",), getattr: ("x", "upper"), __import__: ("os",)}
    payload = Payload(function, *arguments.get(function, (f"__import__('os').mkdir({marker!r})",)))
    packed = pickle.dumps({"state_dict": payload}, protocol)
    body = packed[2:-1]
    message = refused(tmp_path, legacy(body, {}) if kind == "legacy" else zipped(body, {}))
    module = function.__module__.replace("builtins", "__builtin__") if protocol == 2 else function.__module__
    assert f"asks for {module}.{function.__name__}, which is no data and is never run here; the file may be malicious" in message
    assert not os.path.exists(marker)
    pickle.loads(packed)  # the payload is a working one: Python's own unpickler runs it
    assert os.path.exists(marker) == (function not in (getattr, __import__))


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (reference("torch.load") + several(text("x")) + b"R", "torch.load"),
        (reference("torch.storage._load_from_bytes") + several(text("x")) + b"R", "torch.storage._load_from_bytes"),
        (reference("numpyx.core") + b")R", "numpyx.core"),
        (reference("builtins.exec") + b")\x81", "builtins.exec"),
        (b"(" + text("x") + b"ios\nsystem\n", "the operation INST"),
        (b"\x82\x01", "the operation EXT1"),
    ],
)
def test_other_ways_to_name_a_function(tmp_path, body, named):
    assert named in refused(tmp_path, zipped(body, {}))


def test_objects_of_other_libraries_become_stand_ins(tmp_path):
    """An inert object holds what its state was; a callable that is let through by name is not called."""
    state = table({"x": whole(4), "function": reference("numpy.fromfile") + several(text("/etc/passwd")) + b"R"})
    body = table(
        {
            "state_dict": table({"w": tensor("Float", "0", 24, 0, (1,), (1,))}),
            "args": reference("argparse.Namespace") + b")\x81" + state + b"b",
        }
    )
    args = read(tmp_path, zipped(body, BYTES)).rest["args"]
    assert isinstance(args, StandIn) and args.name == "argparse.Namespace" and args.state["x"] == 4
    assert args.state["function"].name == "numpy.fromfile" and args.state["function"].made_with == ("/etc/passwd",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no file of weights"),
        (b"GIF89a" + bytes(99), "is no file of weights"),
        (pickle.dumps({"w": 1}), "is no file of weights"),
        (zipped(table({"epoch": whole(1)}), {}), "holds no state dict"),
        (zipped(b"]", {}), "holds no state dict"),
        (zipped(table({}), {}, byteorder="big"), "was written on a big-endian machine"),
        (legacy(table({}), {}, little_endian=False), "was written on a big-endian machine"),
        (legacy(table({}), {"9": (1, bytes(4))}), "its storages are not those of its tensors"),
        (zipped(table({"w": tensor("Float", "7", 24, 0, (1,), (1,))}), BYTES), "it lacks the record data/7"),
        (zipped(table({"w": tensor("Quaternion", "0", 24, 0, (1,), (1,))}), BYTES), "asks for torch.QuaternionStorage"),
        (zipped(b"(" * 9, {}), "holds a damaged pickle"),
        (zipped(b"}(" + b")" + b"\x85" * 200_000 + b"Nu", {}), "holds a damaged pickle (a key is no name or number)"),
        (zipped(b"]]a}]Ns", {}), "holds a damaged pickle (a key is no name or number)"),
    ],
)
def test_foreign_and_damaged_files(tmp_path, content, message):
    assert message in refused(tmp_path, content)


def test_packed_records_and_other_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", document(table({})) + bytes(1 << 20))
    assert "its record archive/data.pkl is packed" in refused(tmp_path, (tmp_path / "x.zip").read_bytes())
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
        archive.writestr("a/readme.txt", "hello")
    assert "is a zip archive, but no PyTorch checkpoint: it has no data.pkl" in refused(
        tmp_path, (tmp_path / "y.zip").read_bytes()
    )


@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # the standard library's, about a damaged text
def test_turned_bits_never_end_in_another_error(tmp_path):
    """Either the file is refused, or what it says can still be read."""
    rng = np.random.default_rng(0)
    for kind in ("zip", "legacy"):
        whole_file, refusals = handmade(kind), 0
        for _ in range(200):
            content = bytearray(whole_file)
            for place in rng.integers(0, len(content), 2):
                content[place] = rng.integers(256)
            try:
                read(tmp_path, content)
            except CheckpointError:
                refusals += 1
        assert refusals > 20


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}])
def test_files_that_pytorch_writes(tmp_path, options):
    torch = pytest.importorskip("torch", reason="compares with files that PyTorch itself writes")
    values = torch.arange(60.0) / 7
    tensors = {
        "turned": values.reshape(3, 4, 5).transpose(0, 2),
        "part": values[3:40:4],
        "parameter": torch.nn.Parameter(values[:2]),
        "bfloat16": values.bfloat16(),
        "half": values.half(),
        "double": values.double(),
        "scalar": torch.tensor(2.5),
        "nothing": torch.zeros(0, 3),
        **{
            str(kind): torch.tensor([1, 0, 3]).to(kind)
            for kind in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
        },
        "truth": torch.tensor([True, False]),
        **torch.nn.Linear(3, 2).state_dict(),
    }
    rest = {"args": argparse.Namespace(width=[3, 4]), "loops": {"a": {1, 2}}, "optimizer": {0: {"step": torch.tensor(1.0)}}}
    torch.save({"state_dict": OrderedDict(tensors), **rest}, tmp_path / "x.ckpt", **options)
    file = read_checkpoint(tmp_path / "x.ckpt")
    assert file.tensors.keys() == tensors.keys()
    for name, value in tensors.items():
        value, ours = value.detach(), file.tensors[name]
        if value.dtype == torch.bfloat16:
            assert ours.dtype == ml_dtypes.bfloat16
            value, ours = value.float(), ours.astype(np.float32)
        assert ours.dtype == value.numpy().dtype
        np.testing.assert_array_equal(ours, value.numpy(), err_msg=name)
    assert file.rest["args"].state == {"width": [3, 4]} and file.rest["loops"] == {"a": {1, 2}}


def test_two_parameters_that_share_a_storage(tmp_path):
    torch = pytest.importorskip("torch", reason="compares with files that PyTorch itself writes")
    both = torch.arange(6.0)
    for new in (True, False):
        torch.save({"a": both[:3], "b": both[3:]}, tmp_path / "x.ckpt", _use_new_zipfile_serialization=new)
        file = read_checkpoint(tmp_path / "x.ckpt")
        np.testing.assert_array_equal(file.tensors["a"], [0, 1, 2])
        np.testing.assert_array_equal(file.tensors["b"], [3, 4, 5])
