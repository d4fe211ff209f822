"""Ctrl-C, a request to terminate and an error half-way: one line, and nothing half-written."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_tokenizer import write_tiny

from tokjax import cli
from tokjax.data.decode import write_video

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("command", "output", "number", "code", "line"),
    [
        ("reconstruct", "out.mp4", signal.SIGINT, 130, "tokjax: interrupted\n"),
        ("encode", "out.npz", signal.SIGTERM, 143, ""),
    ],
)
def test_a_signal_half_way(tmp_path, command, output, number, code, line):
    write_video(tmp_path / "in.mp4", np.zeros((2, 16, 16, 3), np.uint8), 8)
    model, place = write_tiny(tmp_path, "fsq"), tmp_path / "place"
    place.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    argv = [sys.executable, HERE / "endless_video.py", command, model, tmp_path / "in.mp4", "-o", place / output]
    process = subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not any(path.stat().st_size for path in place.iterdir()) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [path.name for path in place.iterdir()] == [f".{output}.partial"]
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, errors) == (code, line)
    assert list(place.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(("command", "output"), [("reconstruct", "out.mp4"), ("encode", "out.npz")])
def test_a_video_that_cannot_be_read_to_its_end(capsys, tmp_path, monkeypatch, command, output):
    """The reading thread's error is the command's."""

    frames = [*np.zeros((40, 8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)]
    write_video(tmp_path / "in.mp4", np.zeros((2, 8, 8, 3), np.uint8), 8)
    monkeypatch.setattr("tokjax.conversion.media.read_video", lambda path: (iter(frames), 8.0))
    place = tmp_path / "place"
    place.mkdir()
    argv = [command, write_tiny(tmp_path, "fsq"), tmp_path / "in.mp4", "-o", place / output]
    assert cli.main([str(word) for word in argv]) == 1
    assert capsys.readouterr() == ("", f"tokjax: {tmp_path / 'in.mp4'}: frame 40 is of another size than those before it\n")
    assert list(place.iterdir()) == []
