"""The .safetensors reader and writer against the format's description, its own library, and damaged headers."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest

from tokjax.conversion.checkpoint_files import CheckpointError, read_checkpoint, write_state

TENSORS = {
    "z": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.b": np.array([1.5, -2.0], ml_dtypes.bfloat16),
    "count": np.array(7),
    "half": np.array([[0.5]], np.float16),
    "double": np.array([1 / 3]),
    "truth": np.array([True, False, True]),
    "bytes": np.arange(3, dtype=np.uint8),
    "none": np.zeros((0, 4), np.float32),
}


def packed(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(**changes):
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


def test_written_as_the_format_says(tmp_path):
    path = tmp_path / "x.safetensors"
    write_state(path, {"w": TENSORS["z"].T})
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0 and header["w"] == {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]}
    assert content[8 + length :] == np.array([0, 3, 1, 4, 2, 5], "<f4").tobytes()


def test_there_and_back(tmp_path):
    write_state(tmp_path / "x.safetensors", TENSORS)
    again = read_checkpoint(tmp_path / "x.safetensors").tensors
    assert again.keys() == TENSORS.keys() and [entry.name for entry in tmp_path.iterdir()] == ["x.safetensors"]
    for name, value in TENSORS.items():
        assert again[name].dtype == value.dtype and again[name].shape == value.shape
        np.testing.assert_array_equal(again[name], value)


def test_a_handmade_file(tmp_path):
    header = {"__metadata__": {"any": "thing"}, "b": entry(data_offsets=[4, 12]), "a": entry(dtype="BF16", data_offsets=[0, 4])}
    data = np.array([1, -2], ml_dtypes.bfloat16).tobytes() + np.array([3, 4], "<f4").tobytes()
    (tmp_path / "x.bin").write_bytes(packed(header, data))
    tensors = read_checkpoint(tmp_path / "x.bin").tensors
    np.testing.assert_array_equal(tensors["b"], [3, 4])
    np.testing.assert_array_equal(tensors["a"].astype(float), [1, -2])


def test_the_same_bytes_as_the_library_writes(tmp_path):
    library = pytest.importorskip("safetensors.numpy", reason="compares with files that the safetensors library writes")
    tensors = {name: value for name, value in TENSORS.items() if value.dtype != ml_dtypes.bfloat16}
    write_state(tmp_path / "ours.safetensors", tensors)
    library.save_file(tensors, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (packed({"w": entry()}, bytes(7)), "is cut short: the tensor w ends 1 bytes behind the end"),
        (packed({"w": entry(shape=[3])}, bytes(8)), "the tensor w does not fill its 8 bytes"),
        (packed({"w": entry(shape=[1 << 40, 1 << 40])}, bytes(8)), "the tensor w does not fill its 8 bytes"),
        (packed({"w": entry(data_offsets=[8, 0])}, bytes(8)), "the tensor w does not fill its -8 bytes"),
        (packed({"w": entry(data_offsets=[0, 1 << 60])}, bytes(8)), "is cut short: the tensor w"),
        (packed({"w": entry(shape=[-2])}, bytes(8)), "the size of the tensor w is no whole number"),
        (packed({"w": entry(shape=2)}, bytes(8)), "its header does not describe the tensor w"),
        (packed({"w": {"dtype": "F32"}}, bytes(8)), "its header does not describe the tensor w"),
        (packed({"w": [1, 2]}, bytes(8)), "its header does not describe the tensor w"),
        (packed({"w": entry(dtype="F7")}, bytes(8)), "holds the tensor w in the format 'F7', which is not known here"),
        (packed(b'{"w": '), "its header is no JSON"),
        (packed(b'{"w":' + b"[" * 100_000), "its header is no JSON"),
        (struct.pack("<Q", 1 << 62) + b'{"w": 1}', "is cut short: its header is longer than the file"),
        (packed({}), "holds no state dict"),
    ],
)
def test_damaged_files(tmp_path, content, message):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError) as refusal:
        read_checkpoint(tmp_path / "x.safetensors")
    assert str(refusal.value).startswith(f"{tmp_path}/x.safetensors ") and message in str(refusal.value)


def test_a_name_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "taken.safetensors").touch()
    monkeypatch.setitem(__import__("sys").modules, "torch", None)  # importing it raises ImportError
    refusals = {
        "taken.safetensors": "taken.safetensors exists already; give a name that does not",
        "x.bin": "give a name that ends in .ckpt or .safetensors",
        "nowhere/x.safetensors": "nowhere does not exist",
        "x.ckpt": r'needs PyTorch: pip install "tokjax\[torch\]", or give a name that ends in .safetensors',
    }
    for name, message in refusals.items():
        with pytest.raises(CheckpointError, match=message):
            write_state(tmp_path / name, TENSORS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken.safetensors"]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match=r"cannot hold the tensor w: .safetensors has no type complex64"):
        write_state(tmp_path / "x.safetensors", {"w": np.zeros(2, np.complex64)})

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tokjax.conversion.checkpoint_files.flush", full)
    with pytest.raises(OSError, match="No space left"):
        write_state(tmp_path / "x.safetensors", TENSORS)
    assert not list(tmp_path.iterdir())
