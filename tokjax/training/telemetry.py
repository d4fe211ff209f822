"""What a run tells: a progress line, `metrics.jsonl`, and TensorBoard scalars, image grids and GIFs through clu's writers."""

from __future__ import annotations

import io
import json
import math
import sys
import time
import types
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tokjax.training.workdir import write_atomically


class TensorBoardWriter:
    """clu's SummaryWriter interface on tensorboardX: the same event files, without TensorFlow."""

    def __init__(self, log_dir: str, start_step: int) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(log_dir, purge_step=start_step or None)

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, float(value), step)

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Each uint8 [n,h,w,3]."""
        for name, value in images.items():
            self._writer.add_images(name, value, step, dataformats="NHWC")

    def write_videos(self, step: int, videos: Mapping[str, np.ndarray]) -> None:
        """Each uint8 [t,h,w,3], stored as an animated GIF, which TensorBoard shows among the images."""
        from tensorboardX.proto.summary_pb2 import Summary

        for name, value in videos.items():
            image = Summary.Image(height=value.shape[1], width=value.shape[2], colorspace=3, encoded_image_string=to_gif(value))
            self._writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        for name, value in texts.items():
            self._writer.add_text(name, value, step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def to_gif(video: np.ndarray, frames_per_second: float = 8.0) -> bytes:
    """uint8 [t,h,w,3] -> the bytes of an endlessly repeating GIF."""
    first, *rest = [Image.fromarray(frame) for frame in video]
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=round(1000 / frames_per_second), loop=0)
    return buffer.getvalue()


def event_writer(directory: Path, start_step: int) -> Any:
    """clu's asynchronous writer of event files; events of steps after `start_step`, of a run before, are dropped.

    `clu.metric_writers` imports TensorFlow for its summary writer alone; where TensorFlow is absent ours takes its place.
    """
    name = "clu.metric_writers.tf.summary_writer"
    if name not in sys.modules and find_spec("tensorflow") is None:
        package, module = types.ModuleType("clu.metric_writers.tf"), types.ModuleType(name)
        package.__path__, module.SummaryWriter = [], TensorBoardWriter
        sys.modules |= {package.__name__: package, name: module}
    from clu import metric_writers

    return metric_writers.AsyncWriter(TensorBoardWriter(str(directory), start_step))


class Telemetry:
    """Scalars of a run, by step. On processes other than the first it stays silent.

    `metrics.jsonl` in the workdir holds one JSON object a line: `step` and that step's scalars, of training or evaluation.
    """

    def __init__(self, workdir: Path, total_steps: int, start_step: int, leader: bool) -> None:
        self._path, self._total, self._leader = workdir / "metrics.jsonl", total_steps, leader
        self._since, self._since_step, self._wait = time.perf_counter(), start_step, 0.0
        if not leader:
            return
        rows = [row for row in read_metrics(workdir) if row["step"] <= start_step]
        write_atomically(self._path, "".join(json.dumps(row) + "\n" for row in rows))
        self._writer = event_writer(workdir / "tensorboard", start_step)

    def waited(self, seconds: float) -> None:
        """Counts time in which the loop had no batch to work on."""
        self._wait += seconds

    def log_training(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes the scalars and the progress line; `metrics` has at least loss, and psnr where a tokenizer learns."""
        seconds = max(time.perf_counter() - self._since, 1e-9)
        speed, wait = (step - self._since_step) / seconds, self._wait / seconds
        self.restart_clock(step)
        self.write(step, {**metrics, "steps_per_second": speed, "data_wait": wait})
        remaining = (self._total - step) / speed if speed else math.inf
        judged = f"judges {metrics['discriminator_loss']:7.4f} | " if "discriminator_loss" in metrics else ""
        quality = f"psnr {metrics['psnr']:5.2f} dB | " if "psnr" in metrics else ""
        self.say(
            f"step {step:>{len(str(self._total))}}/{self._total} | loss {metrics['loss']:9.4g} | {judged}"
            f"{quality}{speed:6.2f} steps/s | data wait {wait:4.0%} | ETA {duration(remaining)}"
        )

    def restart_clock(self, step: int) -> None:
        """Leaves what happened since the last line (an evaluation, a compilation) out of the next line's speed."""
        self._since, self._since_step, self._wait = time.perf_counter(), step, 0.0

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        if not self._leader:
            return
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **{name: float(value) for name, value in scalars.items()}}) + "\n")
        self._writer.write_scalars(step, scalars)

    def write_pictures(self, step: int, pictures: Sequence[Any]) -> None:
        """Original beside reconstruction: images as grids, videos as GIFs. Each picture has name, original, reconstruction."""
        if not self._leader:
            return
        for index, picture in enumerate(pictures):
            pair = np.concatenate([picture.original, picture.reconstruction], axis=2)
            write = self._writer.write_videos if len(pair) > 1 else self._writer.write_images
            write(step, {f"{picture.name.replace(' / ', '/')}/{index}": pair})  # TensorBoard groups by what is before the "/"

    def say(self, line: str) -> None:
        """One line for the person who watches."""
        if self._leader:
            print(line, flush=True)

    def close(self) -> None:
        if self._leader:
            self._writer.flush()
            self._writer.close()


def read_metrics(workdir: Path) -> list[dict[str, float]]:
    """The rows of a workdir's metrics.jsonl; a last line cut short by a kill is left out."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines if line]


def duration(seconds: float) -> str:
    """Hours, minutes and seconds as "1:02:03" or "2:03"; "?" where they are not known."""
    if not math.isfinite(seconds):
        return "?"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
