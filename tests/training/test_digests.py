"""Digests against sha256sum's own, and every single damaged byte."""

import hashlib
import json
import os

import pytest

from tokjax.training.digests import find_damage, write_digests


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "weights").write_bytes(bytes(range(256)))
    (tmp_path / "empty").write_bytes(b"")
    write_digests(tmp_path)
    return tmp_path


def test_every_file_is_listed_with_its_size_and_digest(folder):
    assert json.loads((folder / "digests.json").read_text()) == {
        "a/weights": {"bytes": 256, "sha256": hashlib.sha256(bytes(range(256))).hexdigest()},
        "empty": {"bytes": 0, "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    }
    assert find_damage(folder) is None


def test_damage_names_the_file_and_what_is_wrong_with_it(folder):
    weights = folder / "a" / "weights"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert find_damage(folder) == "a/weights holds other bytes than were written"
    weights.write_bytes(content[:100])
    assert find_damage(folder) == "a/weights has 100 bytes, but 256 were written"
    weights.unlink()
    assert find_damage(folder) == "a/weights is missing"
    weights.mkdir()
    assert find_damage(folder) == "a/weights cannot be read (Is a directory)"


def test_any_flipped_bit_of_the_digests_themselves_is_noticed(folder):
    path = folder / "digests.json"
    content = path.read_bytes()
    for position in range(len(content)):
        for bit in range(8):
            flipped = content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :]
            path.write_bytes(flipped)
            # White space is all that may change without harm.
            assert find_damage(folder) is not None or flipped.split() == content.split(), (position, bit)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert find_damage(folder) is not None, length


def test_a_folder_without_digests_is_damaged(folder):
    (folder / "digests.json").unlink()
    assert find_damage(folder) == "digests.json is missing"


def test_all_files_are_on_the_disk_before_the_digests_say_so(folder, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    write_digests(folder)
    names = [os.path.relpath(path, folder) for path in flushed]
    assert {"a", "a/weights", "empty"} <= set(names[: names.index(".digests.json.partial")])
    assert names[-1] == "."  # the folder, once digests.json has its name
