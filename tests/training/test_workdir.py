"""The lock of a workdir, held and freed by real processes, and files that are replaced whole."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tokjax.training.workdir import WorkdirBusy, lock_workdir, write_atomically

HOLDER = """
import sys, time
from pathlib import Path
from tokjax.training.workdir import lock_workdir
with lock_workdir(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of tmp_path / "run"."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_refused_and_told_who_holds_the_workdir(holder, tmp_path):
    owner = f"process {holder.pid} on {socket.gethostname()}"
    with pytest.raises(WorkdirBusy, match=f"in use by {owner}; stop that run"), lock_workdir(tmp_path / "run"):
        pass


def test_the_lock_is_free_after_kill_9(holder, tmp_path):
    holder.kill()
    holder.wait()
    with lock_workdir(tmp_path / "run"):
        assert (tmp_path / "run" / "lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}"


def test_the_lock_is_held_within_the_block_and_free_after_it_however_it_ends(tmp_path):
    took = []
    for ending in (None, RuntimeError("a run that failed"), None):
        try:
            with lock_workdir(tmp_path):
                took.append(ending)
                with pytest.raises(WorkdirBusy, match=f"in use by process {os.getpid()} on "), lock_workdir(tmp_path):
                    took.append("twice")
                if ending:
                    raise ending
        except RuntimeError as error:
            assert error is ending
    assert len(took) == 3 and "twice" not in took


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "a.json"
    write_atomically(path, "old, and longer than the new one")
    before = path.stat().st_ino
    write_atomically(path, b"new \xff")
    assert path.read_bytes() == b"new \xff"
    assert path.stat().st_ino != before  # another file took its name: the old one was never open for writing
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_write_that_fails_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomically(path, "old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
