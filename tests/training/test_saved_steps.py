"""A kill in the middle of tidying up, played step by step; tests/faults kills real processes."""

import shutil

import pytest

from tokjax.training.digests import write_digests
from tokjax.training.saved_steps import finished_steps, newest_intact, prepare, remove_step, set_aside


@pytest.fixture
def directory(tmp_path):
    for step in (8, 9, 10):
        (tmp_path / str(step)).mkdir()
        (tmp_path / str(step) / "weights").write_text(f"weights of {step}")
        write_digests(tmp_path / str(step))
    return tmp_path


def test_steps_are_numbers_in_order(directory):
    (directory / "latest").mkdir()
    write_digests(directory / "latest")
    assert finished_steps(directory) == [8, 9, 10]
    assert newest_intact(directory, [8, 9, 10]) == (10, {})


def test_a_step_half_removed_no_longer_counts(directory, monkeypatch):
    def killed(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        remove_step(directory, 8)
    monkeypatch.undo()
    assert (directory / "8" / "weights").exists()
    assert finished_steps(directory) == [9, 10]
    prepare(directory)
    assert sorted(path.name for path in directory.iterdir()) == ["10", "9"]


def test_only_steps_are_cleared_away(directory):
    (directory / "notes").mkdir()
    (directory / "11.orbax-checkpoint-tmp").mkdir()
    set_aside(directory, 9)
    prepare(directory)
    assert sorted(path.name for path in directory.iterdir()) == ["10", "8", "9.damaged", "notes"]


def test_a_second_damaged_save_of_a_step_takes_the_place_of_the_first(directory):
    set_aside(directory, 9)
    (directory / "10").rename(directory / "9")
    assert (set_aside(directory, 9) / "weights").read_text() == "weights of 10"
    assert finished_steps(directory) == [8]


def test_the_damage_of_every_newer_step_is_told(directory):
    (directory / "10" / "weights").unlink()
    (directory / "9" / "weights").write_text("weights of 7")
    assert newest_intact(directory, [8, 9, 10]) == (
        8,
        {10: "weights is missing", 9: "weights holds other bytes than were written"},
    )
