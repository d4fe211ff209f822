"""How a start ended stands in its workdir."""

import pytest

from tokjax.errors import TOO_LARGE
from tokjax.training.ending import read_end, recorded_end


def test_the_exit_code_is_noted_by_the_first_process_only(tmp_path):
    with recorded_end(tmp_path, leader=False) as note:
        assert note(0) == 0
    assert read_end(tmp_path) == {}
    with recorded_end(tmp_path, leader=True) as note:
        assert note(75) == 75
    assert read_end(tmp_path) == {"exit": 75, "reason": ""}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("two\n  lines"), "two lines"),
        (KeyError(), "KeyError"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 byte.\nbuffers"), TOO_LARGE),
    ],
)
def test_an_error_is_noted_in_one_line_and_goes_on(tmp_path, error, reason):
    with pytest.raises(type(error)), recorded_end(tmp_path, leader=True):
        raise error
    assert read_end(tmp_path) == {"exit": 1, "reason": reason}


def test_an_interrupt_or_half_a_file_is_no_end(tmp_path):
    with pytest.raises(KeyboardInterrupt), recorded_end(tmp_path, leader=True):
        raise KeyboardInterrupt
    assert read_end(tmp_path) == {}
    (tmp_path / "ended.json").write_text('{"exit": 1, "rea')
    assert read_end(tmp_path) == {}
