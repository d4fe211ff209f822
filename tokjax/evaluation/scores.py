"""What the evaluation of one stream has gathered so far, and what it comes to. Sums are in float64, on the host."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tokjax.evaluation.distributions import RULES
from tokjax.evaluation.examples import Examples, Picture
from tokjax.evaluation.frechet import Gaussian, Moments, frechet_distance, moments_as_arrays, moments_from_arrays
from tokjax.evaluation.inception_score import InceptionScore
from tokjax.evaluation.protocols import METRICS
from tokjax.quantizers import usage

FEW_SAMPLES = 2048  # a distance over fewer depends strongly on how many they are
RANKS = 64  # bars of a codebook's histogram


@dataclasses.dataclass
class Scores:
    """Attributes:
    ids: of the clips, in order.
    frames: by metric, the scores [t] of each clip.
    length: frames of all clips.
    counts: of codes, int64 [codebooks, size].
    sets: by metric, moments of the features of the reconstructions, and of the originals.
    inception_score: where it is asked for.
    pictures: the first clips.
    examples: clips that a report shows, where they are asked for.
    """

    ids: list[str] = dataclasses.field(default_factory=list)
    frames: dict[str, list[np.ndarray]] = dataclasses.field(default_factory=dict)
    length: int = 0
    counts: np.ndarray | int = 0
    sets: dict[str, tuple[Moments, Moments]] = dataclasses.field(default_factory=dict)
    inception_score: InceptionScore | None = None
    pictures: list[Picture] = dataclasses.field(default_factory=list)
    examples: Examples | None = None

    def add_clip(self, id: str, length: int, values: Mapping[str, np.ndarray]) -> None:
        self.ids.append(id)
        self.length += length
        for name, value in values.items():
            self.frames.setdefault(name, []).append(value.astype(np.float64))

    def flattened(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """All but the first pictures, as values for JSON and arrays, see tokjax.evaluation.kept_scores."""
        sets = {f"{name}/{side}": pair[i] for name, pair in self.sets.items() for i, side in enumerate(("fake", "real"))}
        kept = self.examples.kept if self.examples else {}
        about = {
            "ids": self.ids,
            "length": self.length,
            "metrics": list(self.frames),
            "counts": {name: one.count for name, one in sets.items()},
            "examples": {role: [psnr, picture.name] for role, (psnr, picture) in kept.items()},
        }
        arrays = moments_as_arrays(sets)
        for name, clips in self.frames.items():
            arrays[f"frames/{name}"] = np.concatenate(clips)
            arrays[f"lengths/{name}"] = np.array([len(clip) for clip in clips])
        arrays["codes"] = np.asarray(self.counts)
        if self.inception_score is not None:
            arrays |= {f"inception_score/{name}": value for name, value in self.inception_score.state().items()}
        if self.examples:
            arrays["psnr_of_clips"] = np.array(self.examples.scores)
            for role, (_, picture) in kept.items():
                arrays |= {f"original/{role}": picture.original, f"reconstruction/{role}": picture.reconstruction}
        return about, arrays

    def restored(self, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Scores:
        """Scores with what `flattened` gave; these, which are new, say what is wanted of it."""
        moments = moments_from_arrays(about["counts"], arrays)
        frames = {}
        for name in about["metrics"]:
            frames[name] = np.split(arrays[f"frames/{name}"], np.cumsum(arrays[f"lengths/{name}"])[:-1])
        scores = Scores(list(about["ids"]), frames, about["length"], arrays["codes"] if arrays["codes"].ndim else 0)
        scores.sets = {name: (moments[f"{name}/fake"], moments[f"{name}/real"]) for name in self.sets}
        if self.inception_score is not None:
            self.inception_score.restore(arrays_below("inception_score", arrays))
        scores.inception_score = self.inception_score
        if self.examples is not None:
            kept = {}
            for role, (psnr, name) in about["examples"].items():
                kept[role] = (psnr, Picture(name, arrays[f"original/{role}"], arrays[f"reconstruction/{role}"]))
            scores.examples = Examples(arrays["psnr_of_clips"].tolist(), kept)
        return scores

    def summary(self, codebook_size: int | None) -> dict[str, Any]:
        """The stream's entry in results; values of metrics by frame are means over all frames of all clips."""
        found: dict[str, Any] = {"clips": len(self.ids), "frames": self.length}
        found["sample_ids"] = hashlib.sha256("\n".join(self.ids).encode()).hexdigest()
        for name, clips in self.frames.items():
            if sum(map(len, clips)):  # flicker has no value for single frames
                found[name] = float(np.mean(np.concatenate(clips)))
        if "psnr" in self.frames:
            by_frame = itertools.zip_longest(*self.frames["psnr"], fillvalue=np.nan)
            found["psnr_per_frame"] = [float(np.nanmean(values)) for values in by_frame]
        found |= {name: distance(name, *pair) for name, pair in self.sets.items()}
        if self.inception_score is not None:
            mean, deviation = self.inception_score.result()
            found["inception_score"] = {"value": mean, "deviation": deviation, "samples": len(self.ids)}
        found["codebook"] = None if codebook_size is None else codebook(self.counts)
        return found


def arrays_below(name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those whose names begin with `name`/, without it."""
    return {key.removeprefix(f"{name}/"): one for key, one in arrays.items() if key.startswith(f"{name}/")}


def scalars_of(result: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an evaluation for a log, as "validation/videos/psnr" or "validation/codebook/usage"."""
    found = {}
    for stream, one in result["streams"].items():
        for name in METRICS:
            value = one.get(name)
            value = value["value"] if isinstance(value, Mapping) else value
            if value is not None:
                found[f"validation/{stream}/{name}"] = value
    book = result["codebook"] or {}
    return found | {f"validation/codebook/{key}": book[key] for key in ("usage", "perplexity") if book}


def distance(name: str, reconstructions: Moments, originals: Moments | Gaussian) -> dict[str, Any]:
    """A Fréchet distance, on how many samples, by what rule; without a value where a set has fewer than two."""
    rule = RULES[name]
    counts = {"samples": reconstructions.count, "reference_samples": originals.count}
    rule_ = {"rule": dataclasses.asdict(rule)}
    fewest = min(count for count in counts.values() if count is not None)
    if fewest < 2:
        return {"value": None, **counts, "warning": "a distance needs at least 2 samples", **rule_}
    value = {"value": frechet_distance(reconstructions, originals, rule.ddof), **counts}
    if fewest < FEW_SAMPLES:
        value["warning"] = f"over {fewest:,} samples: below {FEW_SAMPLES:,} the value depends strongly on their number"
    return value | rule_


def codebook(counts: np.ndarray) -> dict[str, Any]:
    """What the counts [codebooks, size] say; the code of one codebook is not that of another with the same index."""
    measures = {"usage": usage.usage, "perplexity": usage.perplexity, "entropy_bits": usage.entropy_bits}
    return {
        "codebooks": len(counts),
        "size": counts.shape[1],
        "codes_counted": int(counts.sum()),
        **{name: float(np.mean([measure(one) for one in counts])) for name, measure in measures.items()},
        "dead_codes": sum(map(usage.dead_codes, counts)),
        "shares_by_rank": _by_rank(counts),
    }


def _by_rank(counts: np.ndarray) -> list[float]:
    """The codes, most frequent first, in up to 64 groups of nearly as many: the share of all that fall to each group."""
    ordered = np.sort(counts, axis=1)[:, ::-1].sum(0)
    width = math.ceil(len(ordered) / RANKS)
    return [float(part.sum() / ordered.sum()) for part in np.split(ordered, range(width, len(ordered), width))]
