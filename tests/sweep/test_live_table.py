"""The live table on a terminal of a known size, and where there is none."""

import sys

import pytest

from tokjax.sweep.live import LiveTable
from tokjax.sweep.states import FAILED, RUNNING, State

REASON = "a long reason " * 20
STATES = {"a": State(RUNNING, 1, 9, "loss 0.5"), "b": State(FAILED, 0, 9, reason=REASON.strip())}


@pytest.fixture
def terminal(monkeypatch):
    """terminal(columns, lines) makes stdout one of that size."""

    def make(columns, lines):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", str(lines))

    return make


def test_it_is_drawn_over_itself_in_lines_that_fit(terminal, capsys):
    terminal(40, 24)
    table = LiveTable()
    table.show(STATES)
    first = capsys.readouterr().out
    assert len(first.splitlines()) == 4 and max(map(len, first.splitlines())) <= 39
    table.show(STATES)
    assert capsys.readouterr().out == f"\033[4F\033[J{first}"
    table.finish(STATES)
    assert capsys.readouterr().out.endswith(f"    {REASON.strip()}\n"), "at the end the reason is whole"


@pytest.mark.parametrize("tall", [True, False])
def test_what_cannot_be_redrawn_is_told_as_it_changes(terminal, capsys, tall):
    if tall:
        terminal(40, 4)
    table = LiveTable()
    table.show(STATES)
    table.show(STATES)
    said = f"a | running | step 1/9 | loss 0.5\nb | failed | step 0/9 | {REASON.strip()}\n"
    assert capsys.readouterr().out == said
    table.show(STATES | {"a": State(RUNNING, 2, 9, "loss 0.4")})
    assert capsys.readouterr().out == "a | running | step 2/9 | loss 0.4\n"
