"""metrics.jsonl, the progress line, and event files read back with tensorboardX's own protocol buffers."""

import io
import json
import struct

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from tokjax.evaluation.evaluator import Picture
from tokjax.training.telemetry import Telemetry, duration, read_metrics, to_gif


def events(workdir):
    """(step, summary value) of all event files: records are length, crc of it, bytes, crc of them."""
    found = []
    for path in sorted((workdir / "tensorboard").iterdir()):
        content, position = path.read_bytes(), 0
        while position < len(content):
            (size,) = struct.unpack_from("<Q", content, position)
            event = Event.FromString(content[position + 12 : position + 12 + size])
            found += [(event.step, value) for value in event.summary.value]
            position += size + 16
    return found


def frames(encoded: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(encoded)) as image:
        pictures = []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            pictures.append(np.asarray(image.convert("RGB")))
    return np.stack(pictures)


def grey(*levels: int) -> np.ndarray:
    """uint8 [t,4,6,3] with one level a frame."""
    return np.stack([np.full((4, 6, 3), level, np.uint8) for level in levels])


def test_scalars_reach_metrics_and_tensorboard(tmp_path, capsys):
    telemetry = Telemetry(tmp_path, total_steps=10, start_step=0, leader=True)
    telemetry.log_training(5, {"loss": 2.5, "psnr": 21.0, "kl": np.float32(0.25)})
    telemetry.write(5, {"validation/videos/psnr": 19.5})
    telemetry.close()
    training, validation = read_metrics(tmp_path)
    assert {"step": 5, "loss": 2.5, "psnr": 21.0, "kl": 0.25}.items() <= training.items()
    assert training["steps_per_second"] > 0 and 0 <= training["data_wait"] <= 1
    assert validation == {"step": 5, "validation/videos/psnr": 19.5}
    scalars = {value.tag: (step, value.simple_value) for step, value in events(tmp_path)}
    assert scalars["loss"] == (5, 2.5) and scalars["kl"] == (5, 0.25)
    assert scalars["validation/videos/psnr"] == (5, 19.5)
    line = capsys.readouterr().out
    assert line.startswith("step  5/10 | loss       2.5 | psnr 21.00 dB |")


def test_speed_and_wait_are_of_the_time_since_the_line_before(tmp_path, monkeypatch, capsys):
    now = 100.0
    monkeypatch.setattr("tokjax.training.telemetry.time.perf_counter", lambda: now)
    telemetry = Telemetry(tmp_path, total_steps=100, start_step=20, leader=True)
    telemetry.waited(1.0)
    telemetry.waited(1.5)
    now = 110.0
    telemetry.log_training(40, {"loss": 1.0, "psnr": 20.0})
    now = 150.0
    telemetry.restart_clock(40)  # an evaluation of 40 s
    now = 155.0
    telemetry.log_training(50, {"loss": 1.0, "psnr": 20.0})
    telemetry.close()
    rows = read_metrics(tmp_path)
    assert [(row["steps_per_second"], row["data_wait"]) for row in rows] == [(2.0, 0.25), (2.0, 0.0)]
    assert [line.rpartition("| ")[2] for line in capsys.readouterr().out.splitlines()] == ["ETA 0:30", "ETA 0:25"]


def test_pictures_are_a_grid_for_an_image_and_a_gif_for_a_video(tmp_path):
    telemetry = Telemetry(tmp_path, 10, 0, leader=True)
    telemetry.write_pictures(
        3, [Picture("a / x.jpg", grey(40), grey(200)), Picture("b / y.mp4", grey(0, 90, 180), grey(9, 99, 255))]
    )
    telemetry.close()
    found = {value.tag: (step, value.image) for step, value in events(tmp_path) if value.HasField("image")}
    assert sorted(found) == ["a/x.jpg/0", "b/y.mp4/1"]
    assert [step for step, _ in found.values()] == [3, 3]
    np.testing.assert_array_equal(
        frames(found["a/x.jpg/0"][1].encoded_image_string), np.concatenate([grey(40), grey(200)], axis=2)
    )
    gif = found["b/y.mp4/1"][1]
    assert (gif.height, gif.width) == (4, 12) and gif.encoded_image_string.startswith(b"GIF89a")
    pair = np.concatenate([grey(0, 90, 180), grey(9, 99, 255)], axis=2)
    np.testing.assert_array_equal(frames(gif.encoded_image_string), pair)


def test_a_gif_repeats_at_its_frame_rate():
    with Image.open(io.BytesIO(to_gif(grey(0, 100, 200), frames_per_second=5))) as image:
        assert (image.n_frames, image.info["duration"], image.info["loop"]) == (3, 200, 0)


def test_rows_after_the_step_resumed_from_are_dropped_and_so_is_a_torn_line(tmp_path):
    rows = [{"step": step, "loss": float(step)} for step in (0, 5, 10, 15)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 20, "lo')
    assert read_metrics(tmp_path) == rows
    Telemetry(tmp_path, 100, start_step=10, leader=True).close()
    assert read_metrics(tmp_path) == rows[:3]


def test_other_processes_are_silent(tmp_path, capsys):
    telemetry = Telemetry(tmp_path, 10, 0, leader=False)
    telemetry.log_training(5, {"loss": 2.5, "psnr": 21.0})
    telemetry.write_pictures(5, [Picture("a", grey(1), grey(2))])
    telemetry.say("a line")
    telemetry.close()
    assert capsys.readouterr().out == "" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("seconds", "text"), [(7, "0:07"), (59.6, "1:00"), (3600, "1:00:00"), (7384, "2:03:04"), (np.inf, "?")])
def test_durations(seconds, text):
    assert duration(seconds) == text
