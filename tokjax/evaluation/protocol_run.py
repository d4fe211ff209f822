"""An evaluation by a protocol, of a model on a data set or of a folder of reconstructions; goes on where it was interrupted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tokjax.evaluation.clips import Clips, Files
from tokjax.evaluation.context import environment
from tokjax.evaluation.cost_of_clip import cost_of_clip
from tokjax.evaluation.distributions import RULES
from tokjax.evaluation.evaluator import evaluate, evaluate_pairs
from tokjax.evaluation.examples import Examples, Picture
from tokjax.evaluation.frechet import Moments
from tokjax.evaluation.judge import Judge
from tokjax.evaluation.kept_scores import Unfinished, load_moments, save_moments
from tokjax.evaluation.networks import Weights
from tokjax.evaluation.pairs import Pairs, files_of
from tokjax.evaluation.protocols import Protocol, shortage
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
    run, devices = _Run(setup, _originals(setup)), mesh.size
    timed = _Timed(tokenizer.on({"data": -1}) if devices > 1 else tokenizer, _by_clip(mesh))
    unfinished = run.unfinished(_digest_of(tokenizer))
    fresh = unfinished.restore(run.new_scores())
    clips = Clips(setup.protocol, run.source, _batch(setup, devices), fresh.ids)
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
    run, theirs = _Run(setup, _originals(setup)), files_of(folder, setup.protocol.media)
    fingerprint = theirs.fingerprint()
    unfinished = run.unfinished(fingerprint)
    fresh = unfinished.restore(run.new_scores())
    pairs = Pairs(setup.protocol, run.source, theirs, _batch(setup, mesh.size), fresh.ids, _by_clip(mesh))
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


def _batch(setup: Setup, devices: int) -> int:
    """Clips at a time, as many on each device; of whole videos one."""
    return -(-setup.batch // devices) * devices if setup.protocol.frames else devices


def _by_clip(mesh: Mesh) -> NamedSharding | None:
    """Each device has clips of its own; one device needs no plan."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp"))) if mesh.size > 1 else None


def _originals(setup: Setup) -> Files:
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
        self._known = {name: found for name in self.judge.of_sets if (found := self._known_originals(name))}
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
                save_moments(self._file(name), {name: originals}, self._label_of(name))
        protocol = self.setup.protocol
        stream = result["streams"][protocol.media]
        warnings = shortage(protocol, {protocol.media: stream["clips"]})
        warnings += [f"{name}: {one['warning']}" for name, one in stream.items() if isinstance(one, dict) and one.get("warning")]
        warnings += [f"{row['id']} was left out: {row['reason']}" for row in bad]
        result["warnings"] = warnings
        result["protocol"] |= {
            "preset": protocol.name,
            "overrides": dict(self.setup.overrides),
            "latents": "mode, not sampled",
            "enough_samples": stream["clips"] >= protocol.samples,
            **{key: value for key, value in dataclasses.asdict(protocol).items() if key != "name"},
        }
        networks = {
            name: {"digest": one.about["digest"], "sources": one.about["sources"]} for name, one in self.setup.weights.items()
        }
        result["networks"] = {name: one for name, one in networks.items() if name in self.judge.digests}
        result["data"] = {"path": str(self.setup.data), "files": len(self.source), "fingerprint": self._label["data"]}
        result |= environment(time.monotonic() - self._began)

    def _known_originals(self, name: str) -> Moments | None:
        path = self._file(name)
        return load_moments(path, self._label_of(name))[name] if path.exists() else None

    def _label_of(self, name: str) -> dict[str, Any]:
        """Everything that the originals' statistics depend on."""
        return {"metric": name, **self._label, "weights": self._label["weights"][RULES[name].network]}

    def _file(self, name: str) -> Path:
        label = json.dumps(self._label_of(name), sort_keys=True)
        return self.setup.cache / f"{name}_{hashlib.sha256(label.encode()).hexdigest()[:16]}.npz"


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


def _digest_of(tokenizer: Tokenizer) -> str:
    """Names the model's weights and settings."""
    total = hashlib.sha256(json.dumps(tokenizer.config.model.to_dict(), sort_keys=True, default=str).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(tokenizer.variables):
        total.update(jax.tree_util.keystr(path).encode())
        total.update(np.ascontiguousarray(leaf).tobytes())
    return total.hexdigest()
