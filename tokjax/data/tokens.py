"""Caches: the tokens of a data set in ArrayRecord shards, with `tokens.json`, which says what they are and who made them.

A record is packed as those of other shards are; its media are one array in numpy's format, codes [t,h,w] or latents [t,h,w,c].
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from pathlib import Path

import numpy as np

from tokjax.data.records import BadRecord, DataError, Record
from tokjax.data.sources import ShardSource

ABOUT = "tokens.json"


@dataclasses.dataclass(frozen=True)
class About:
    """What a cache says of itself.

    Attributes:
      tokenizer: digest of the model that made the tokens.
      shape: of a sample: (t,h,w) of codes, (t,h,w,c) of latents.
      codes: how many there are; 0 of latents.
      records: samples.
      classes: how many, from the highest label; names: of them, where they have any.
      mean, deviation: of each channel of latents; empty of codes.
      source: the fingerprint of the data set, and how it was read.
    """

    tokenizer: str
    shape: tuple[int, ...]
    codes: int
    records: int
    classes: int
    names: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    source: str


class TokenSource(ShardSource):
    """The shards of a cache.

    Attributes:
      about: its `tokens.json`.
    """

    def __init__(self, folder: str) -> None:
        """Raises DataError where there is no cache, a damaged one, or an empty one."""
        self.folder, self.about = folder, read_about(folder)
        if not self.about.records:
            raise DataError(f"the cache {folder} is empty; encode a data set that has records which can be used")
        super().__init__(folder)
        if len(self) != self.about.records:
            raise DataError(f"the cache {folder} is damaged: it has {len(self)} of {self.about.records} records; encode it again")

    def __getstate__(self) -> dict[str, object]:
        return super().__getstate__() | {"folder": self.folder, "about": self.about}

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{super().fingerprint()}{json.dumps(dataclasses.asdict(self.about))}".encode()).hexdigest()


def read_about(folder: str) -> About:
    """What the cache in a folder says of itself.

    Raises:
      DataError: there is none, or a damaged one.
    """
    path = Path(folder) / ABOUT
    if not path.is_file():
        raise DataError(
            f"{folder} is no cache of tokens, which `tokjax encode MODEL --data ... --output DIR` makes: it has no {ABOUT}"
        )
    try:
        fields = json.loads(path.read_text())
        return About(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged or of another version of tokjax: {error}") from error


def token_record(name: str, tokens: np.ndarray, label: int | None) -> Record:
    """The record of a sample, whose id is that of the clip it was made of."""
    media = io.BytesIO()
    np.lib.format.write_array(media, tokens, allow_pickle=False)
    return Record(name, "tokens", media.getvalue(), label)


def tokens_of(record: Record) -> np.ndarray:
    """The array of a record.

    Raises:
      BadRecord: it is none, or holds a value that is not finite.
    """
    try:
        tokens = np.lib.format.read_array(io.BytesIO(record.media), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise BadRecord("holds no tokens", record.id) from error
    if tokens.dtype.kind == "f" and not np.isfinite(tokens).all():
        raise BadRecord("holds latents that are not finite", record.id)
    return tokens
