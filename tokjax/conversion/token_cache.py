"""Turns a data set into a cache of its tokens, shard by shard; a start that was killed goes on where it stopped."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from tokjax.conversion.package import digest
from tokjax.data.clips import read_clip
from tokjax.data.folders import resumable_folder, write_whole
from tokjax.data.records import BadRecord, DataError, Record, pack
from tokjax.data.shards import new_shard
from tokjax.data.sources import MANIFEST, Source, open_source
from tokjax.data.tokens import ABOUT, About, token_record
from tokjax.models.tokenizer import Tokenizer


@dataclasses.dataclass
class Sums:
    """Of what a shard holds.

    Attributes:
      records: samples; values: latents of each channel.
      first, second: sums of each channel's values and of their squares.
      classes: 1 + the highest label.
      shape: of a sample.
    """

    records: int = 0
    values: int = 0
    first: list[float] = dataclasses.field(default_factory=list)
    second: list[float] = dataclasses.field(default_factory=list)
    classes: int = 0
    shape: list[int] = dataclasses.field(default_factory=list)

    def add(self, tokens: np.ndarray, label: int | None) -> None:
        self.records, self.shape = self.records + 1, list(tokens.shape)
        self.classes = max(self.classes, 0 if label is None else label + 1)
        if tokens.dtype.kind == "f":
            values = tokens.reshape(-1, tokens.shape[-1]).astype(np.float64)
            self.values += len(values)
            for name, sums in (("first", values.sum(0)), ("second", np.square(values).sum(0))):
                setattr(self, name, (np.asarray(getattr(self, name) or 0.0) + sums).tolist())

    def joined(self, other: Sums) -> Sums:
        sums = [
            (np.asarray(a or 0.0) + np.asarray(b or 0.0)) for a, b in ((self.first, other.first), (self.second, other.second))
        ]
        first, second = (np.atleast_1d(one).tolist() if self.values + other.values else [] for one in sums)
        counts = self.records + other.records, self.values + other.values
        return Sums(*counts, first, second, max(self.classes, other.classes), self.shape or other.shape)


def encode_data(tokenizer: Tokenizer, stream: Mapping[str, Any], output: Path, shards: int) -> About:
    """Writes the cache of a data set.

    A clip starts with its video and is cut from its middle, as in evaluation. Continuous latents are those of the mean. Records
    that cannot be used are left out and named in a warning.

    Args:
      stream: a plain dict with the keys of `tokjax.config.stream`; `batch` clips are encoded at once.
      shards: how many files.

    Raises:
      DataError: nothing to encode, more shards than records, or an output that exists.
      ValueError: clips that the tokenizer cannot encode. OSError: as of a full disk; the same call goes on.
    """
    source = open_source(dict(stream))
    if not 1 <= shards <= len(source):
        raise DataError(f"{len(source)} records cannot be put into {shards} shards; choose from 1 to {len(source)}")
    model, codes = digest(tokenizer), tokenizer.module.quantizer.codebook_size or 0
    plan = {"tokenizer": model, "stream": dict(stream), "source": source.fingerprint(), "shards": shards}
    with resumable_folder(output, plan) as folder, tqdm(total=len(source), desc="encode", unit=" clips", disable=None) as bar:
        total = Sums()
        for shard in range(shards):
            path = folder / f"tokens-{shard:05d}-of-{shards:05d}.array_record"
            begin, end = (len(source) * edge // shards for edge in (shard, shard + 1))
            total = total.joined(_shard(tokenizer, source, stream, range(begin, end), path, bar))
        if not total.records:
            raise DataError(f"no record of {stream['path']} can be used, so the cache would be empty")
        about = _about(total, model, codes, source, stream)
        for note in folder.glob("*.sums.json"):
            note.unlink()
        write_whole(folder / ABOUT, json.dumps(dataclasses.asdict(about), indent=2))
    return about


def _shard(tokenizer: Tokenizer, source: Source, stream: Mapping[str, Any], indices: range, path: Path, bar: tqdm) -> Sums:
    """Writes one shard and then the sums of it; where these are there, the shard is finished."""
    noted = path.with_suffix(".sums.json")
    if noted.is_file():
        bar.update(len(indices))
        return Sums(**json.loads(noted.read_text()))
    sums = Sums()
    with new_shard(path, "group_size:1") as write:  # each record can be read without its neighbours
        for records, clips in _batches(source, stream, indices, bar):
            for record, tokens in zip(records, _encoded(tokenizer, clips, stream["batch"]), strict=True):
                if tokens.dtype.kind == "f" and not np.isfinite(tokens).all():
                    raise DataError(f"the latents of {record.id} are not finite; this tokenizer cannot encode it")
                sums.add(tokens, record.label)
                write(pack(token_record(record.id, tokens, record.label)))
    write_whole(noted, json.dumps(dataclasses.asdict(sums)))
    return sums


def _batches(source: Source, stream: Mapping[str, Any], indices: range, bar: tqdm) -> Iterator[tuple[list[Record], np.ndarray]]:
    records, clips = [], []
    for index in indices:
        try:
            record, clip = read_clip(source, index, stream)
            records.append(dataclasses.replace(record, media=b""))
            clips.append(clip)
        except BadRecord as error:
            logging.warning("%s is left out: %s", error.id, error)
        bar.update()
        if len(clips) == stream["batch"]:
            yield records, np.stack(clips)
            records, clips = [], []
    if clips:
        yield records, np.stack(clips)


def _encoded(tokenizer: Tokenizer, clips: np.ndarray, batch: int) -> np.ndarray:
    """Codes int32 or latents float32 of clips; the last, smaller batch is filled up, so that one program does for all."""
    filled = np.concatenate([clips, np.repeat(clips[-1:], batch - len(clips), axis=0)])
    encoded = tokenizer.encode(filled)
    tokens = encoded.latents if encoded.indices is None else encoded.indices
    return np.asarray(jax.device_get(tokens))[: len(clips)]


def _about(total: Sums, model: str, codes: int, source: Source, stream: Mapping[str, Any]) -> About:
    mean, deviation = (), ()
    if total.values:
        first, second = (np.asarray(one) / total.values for one in (total.first, total.second))
        mean, deviation = tuple(first.tolist()), tuple(np.sqrt(np.maximum(second - first**2, 1e-12)).tolist())
    read = ("kind", "path", "frames", "frame_rate", "stride", "resolution", "short_side", "crop")
    return About(
        tokenizer=model,
        shape=tuple(total.shape),
        codes=codes,
        records=total.records,
        classes=total.classes,
        names=tuple(_class_names(source, stream)),
        mean=mean,
        deviation=deviation,
        source=json.dumps({"fingerprint": source.fingerprint()} | {key: stream[key] for key in read}),
    )


def _class_names(source: Source, stream: Mapping[str, Any]) -> list[str]:
    """Of a folder or list, or those that the manifest of shards names."""
    if hasattr(source, "listing"):
        return source.listing.classes
    manifest = Path(stream["path"]) / MANIFEST
    return json.loads(manifest.read_text()).get("classes", []) if manifest.is_file() else []
