"""Token files: parts of bounded size, read one by one, the same for numpy as for us."""

import dataclasses
import tracemalloc
import zipfile

import numpy as np
import pytest
from tiny_tokenizer import tiny_tokenizer

from tokjax.conversion import token_files
from tokjax.conversion.package import digest
from tokjax.conversion.token_files import TokenHeader, read_tokens, regrouped, write_tokens

HEADER = TokenHeader(9, 8, 6, 12.5, 3, 0, digest(tiny_tokenizer("fsq")))


def codes(steps, side=2, dtype=np.int32):
    return np.arange(steps * side * side, dtype=dtype).reshape(steps, side, side)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_what_was_written_comes_back_in_members_of_bounded_size(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(token_files, "PART_VALUES", 12)
    values = codes(10, dtype=dtype)
    assert write_tokens(tmp_path / "a.npz", iter(np.split(values, [1, 2, 9])), lambda: HEADER) == 40
    name = "indices" if dtype == np.int32 else "latents"
    with np.load(tmp_path / "a.npz") as file:
        assert [file[f"{name}_{number:06d}"].shape for number in range(4)] == [(3, 2, 2)] * 3 + [(1, 2, 2)]
        again = np.concatenate([file[one] for one in sorted(file.files) if one.startswith(name)])
        others = {one: file[one].item() for one in file.files if not one.startswith(name)}
    np.testing.assert_array_equal(again, values)
    assert again.dtype == dtype and others == dataclasses.asdict(HEADER) | {"parts": 4}
    header, parts = read_tokens(tmp_path / "a.npz", tiny_tokenizer("fsq"))
    assert header == HEADER
    np.testing.assert_array_equal(np.concatenate(list(parts)), values)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_regrouped_parts_are_the_same_values(size):
    values = codes(20)
    found = list(regrouped(np.split(values, [1, 2, 5, 6, 17]), size))
    assert [len(part) for part in found[:-1]] == [size] * (len(found) - 1) and 1 <= len(found[-1]) <= size
    np.testing.assert_array_equal(np.concatenate(found), values)


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    """20 times the tokens, 8 MB, in the memory of a part: with the table of contents, less than a tenth of them."""
    monkeypatch.setattr(token_files, "PART_VALUES", 2**14)

    def peak(steps):
        def work():
            write_tokens(tmp_path / "a.npz", (codes(1, 64) for _ in range(steps)), lambda: HEADER)
            return sum(len(part) for part in read_tokens(tmp_path / "a.npz", tiny_tokenizer("fsq"))[1])

        work()
        tracemalloc.start()
        assert work() == steps
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    small, large = peak(25), peak(500)
    assert large - small < 0.1 * 475 * 64 * 64 * 4


def test_an_error_half_way_leaves_nothing(tmp_path):
    def parts():
        yield codes(3)
        raise OSError("the disk is full")

    (tmp_path / "a.npz").write_text("an older file")
    with pytest.raises(OSError, match="the disk is full"):
        write_tokens(tmp_path / "a.npz", parts(), lambda: HEADER)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.npz", "an older file")]


def test_a_part_that_is_not_reached_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(token_files, "PART_VALUES", 4)
    write_tokens(tmp_path / "a.npz", [codes(3)], lambda: HEADER)
    with zipfile.ZipFile(tmp_path / "a.npz") as file:
        start = file.getinfo("indices_000002.npy").header_offset
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[start + 70] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    _, parts = read_tokens(tmp_path / "a.npz", tiny_tokenizer("fsq"))
    np.testing.assert_array_equal(next(parts), codes(3)[:1])
    next(parts)
    with pytest.raises(token_files.TokenFileError, match=r"a.npz is not a token file .*, or it is damaged"):
        next(parts)
