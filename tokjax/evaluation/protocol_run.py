"""An evaluation by a protocol, of a model on a data set or of a folder of reconstructions; goes on where it was interrupted."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tokjax.conversion.package import digest
from tokjax.evaluation.clips import Clips, Files
from tokjax.evaluation.context import environment
from tokjax.evaluation.cost_of_clip import cost_of_clip
from tokjax.evaluation.evaluator import evaluate, evaluate_pairs
from tokjax.evaluation.examples import Examples, Picture
from tokjax.evaluation.judge import Judge
from tokjax.evaluation.kept_scores import Statistics, Unfinished
from tokjax.evaluation.networks import Weights
from tokjax.evaluation.pairs import Pairs, files_of
from tokjax.evaluation.protocols import Protocol, shortage
from tokjax.evaluation.reference_shelf import Shelf
from tokjax.evaluation.scores import Scores
from tokjax.models.tokenizer import Tokenizer

Progress = Callable[[int], None]


@dataclasses.dataclass(frozen=True)
class Setup:
    """Attributes:
    overrides: what differs from the preset that the protocol is named after.
    weights: of the networks that judge.
    data: the folder of originals.
    output, cache: where what is unfinished is kept, and statistics of originals.
    batch: clips at a time.
    """

    protocol: Protocol
    overrides: Mapping[str, Any]
    weights: Mapping[str, Weights]
    data: Path
    output: Path
    cache: Path
    batch: int = 8


def evaluate_model(
    setup: Setup, tokenizer: Tokenizer, step: int, mesh: Mesh, progress: Progress | None = None
) -> tuple[dict[str, Any], list[Picture]]:
    """Results and pictures, as `evaluate` gives them, with everything on the label that the protocol says.

    Raises:
      DataError, PerceptualError, ProtocolError, StatisticsError, ValueError: see those who raise them.
    """
    run, devices = _Run(setup, originals_of(setup)), mesh.size
    timed = _Timed(tokenizer.on({"data": -1}) if devices > 1 else tokenizer, by_clip(mesh))
    unfinished = run.unfinished(digest(tokenizer))
    fresh = unfinished.restore(run.new_scores())
    clips = Clips(setup.protocol, run.source, batch_size(setup, devices), fresh.ids)
    quantizer = tokenizer.module.quantizer
    result, pictures = evaluate(
        timed,
        {setup.protocol.media: clips},
        codebook_size=quantizer.codebook_size,
        progress=progress,
        judge=run.judge,
        start=lambda _: fresh,
        after_batch=lambda _, scores: unfinished.save_at_times(scores),
    )
    result["model"] = {"name": tokenizer.config.name, "step": step, **tokenizer.config.model.to_dict()}
    shape = pictures[0].original.shape[:3]
    result["cost"] = cost_of_clip(tokenizer, shape) | {"frames_per_second": timed.frames_per_second()}
    result["seed"] = tokenizer.config.seed
    run.finish(result, fresh, clips.bad)
    unfinished.remove()
    return result, pictures


def evaluate_folder(
    setup: Setup, folder: Path, mesh: Mesh, progress: Progress | None = None
) -> tuple[dict[str, Any], list[Picture]]:
    """The same of reconstructions in a folder, paired with the originals by name."""
    run, theirs = _Run(setup, originals_of(setup)), files_of(folder, setup.protocol.media)
    fingerprint = theirs.fingerprint()
    unfinished = run.unfinished(fingerprint)
    fresh = unfinished.restore(run.new_scores())
    pairs = Pairs(setup.protocol, run.source, theirs, batch_size(setup, mesh.size), fresh.ids, by_clip(mesh))
    result, pictures = evaluate_pairs(
        {setup.protocol.media: pairs},
        progress=progress,
        judge=run.judge,
        start=lambda _: fresh,
        after_batch=lambda _, scores: unfinished.save_at_times(scores),
    )
    result["model"] = {"name": folder.resolve().name, "reconstructions": str(folder), "fingerprint": fingerprint}
    run.finish(result, fresh, [])
    unfinished.remove()
    return result, pictures


def batch_size(setup: Setup, devices: int) -> int:
    """Clips at a time, as many on each device; of whole videos one."""
    return -(-setup.batch // devices) * devices if setup.protocol.frames else devices


def by_clip(mesh: Mesh) -> NamedSharding | None:
    """Each device has clips of its own; one device needs no plan."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp"))) if mesh.size > 1 else None


def originals_of(setup: Setup) -> Files:
    """The files of the data set: those below `images` or `videos`, of `validation` too, where that exists."""
    media, root = setup.protocol.media, setup.data
    root = root / "validation" if (root / "validation").is_dir() else root
    return files_of(root / media if (root / media).is_dir() else root, media)


class _Run:
    """What both kinds of evaluation share: originals, judge, and what is kept in files."""

    def __init__(self, setup: Setup, source: Files) -> None:
        self.setup, self.source, self._began = setup, source, time.monotonic()
        protocol = setup.protocol
        self.judge = Judge(protocol.metrics, setup.weights, protocol.half_range, protocol.jpeg, len(source))
        self._label = {"protocol": protocol.digest(), "data": source.fingerprint(), "weights": self.judge.digests}
        self._shelf = Shelf(setup.cache, protocol, self._label["data"], self.judge.digests)
        self._known = {name: found.moments[name] for name in self.judge.of_sets if (found := self._shelf.find(name))}
        self.judge.known_originals = self._known

    def new_scores(self) -> Scores:
        scores = self.judge.new_scores()
        scores.examples = Examples()
        return scores

    def unfinished(self, judged: str) -> Unfinished:
        label = self._label | {"judged": judged, "metrics": list(self.setup.protocol.metrics), "known": sorted(self._known)}
        return Unfinished(self.setup.output / "unfinished.npz", label)

    def finish(self, result: dict[str, Any], scores: Scores, bad: list[dict[str, str]]) -> None:
        """Keeps the originals' statistics, and writes down how it was done."""
        for name, (_, originals) in scores.sets.items():
            if name not in self._known and originals.count > 1 and not bad:
                self._shelf.keep(name, Statistics({name: originals}))
        result["protocol"]["latents"] = "mode, not sampled"
        add_protocol(result, self.setup, self.judge, bad)
        result["data"] = {"path": str(self.setup.data), "files": len(self.source), "fingerprint": self._label["data"]}
        result |= environment(time.monotonic() - self._began)


def add_protocol(result: dict[str, Any], setup: Setup, judge: Judge, bad: list[dict[str, str]]) -> None:
    """Writes down by which protocol and networks a result was taken, and what a reader has to know of it."""
    protocol = setup.protocol
    stream = result["streams"][protocol.media]
    warnings = shortage(protocol, {protocol.media: stream["clips"]})
    warnings += [f"{name}: {one['warning']}" for name, one in stream.items() if isinstance(one, dict) and one.get("warning")]
    warnings += [f"{row['id']} was left out: {row['reason']}" for row in bad]
    result["warnings"] = warnings
    result["protocol"] |= {
        "preset": protocol.name,
        "overrides": dict(setup.overrides),
        "enough_samples": stream["clips"] >= protocol.samples,
        **{key: value for key, value in dataclasses.asdict(protocol).items() if key != "name"},
    }
    networks = {name: {"digest": one.about["digest"], "sources": one.about["sources"]} for name, one in setup.weights.items()}
    result["networks"] = {name: one for name, one in networks.items() if name in judge.digests}


class _Timed:
    """Reconstructs clips, and keeps the time that this takes; the first call of a shape compiles and does not count."""

    def __init__(self, tokenizer: Tokenizer, place: NamedSharding | None) -> None:
        self._tokenizer, self._place, self._shapes = tokenizer, place, set()
        self._frames, self._seconds = 0, 0.0

    def __call__(self, video: np.ndarray) -> tuple[jax.Array, jax.Array | None]:
        began = time.perf_counter()
        chunk = _chunk_frames(self._tokenizer, video.shape[1])
        encoded = self._tokenizer.encode(video, chunk_frames=chunk)
        floats = dataclasses.replace(encoded, dtype=np.dtype(np.float32))  # decoded without rounding to 8 bits
        reconstruction = self._tokenizer.decode(floats, chunk_frames=chunk)
        if video.shape in self._shapes:
            self._seconds += time.perf_counter() - began
            self._frames += video.shape[0] * video.shape[1]
        self._shapes.add(video.shape)
        return jax.device_put(reconstruction, self._place), encoded.indices

    def frames_per_second(self) -> float | None:
        return self._frames / self._seconds if self._seconds else None


LONGEST_CLIP = 32  # frames; a longer one is encoded in chunks where the model can


def _chunk_frames(tokenizer: Tokenizer, frames: int) -> int | None:
    causal = str(getattr(tokenizer.module, "causality", "")).startswith("causal")
    return max(16, tokenizer.module.time_factor) if causal and frames > LONGEST_CLIP else None
