"""What a prepared data set says of itself: `manifest.json`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tokjax.data.reencode import CRF, JPEG_QUALITY
from tokjax.data.shards import KEPT, Rules

MOST_SIZES = 20


def manifest(
    rows: Sequence[Mapping[str, Any]],
    files: Sequence[Mapping[str, Any]],
    stream: Mapping[str, Any],
    source_fingerprint: str,
    classes: Sequence[str],
    rules: Rules,
    version: str,
) -> dict[str, Any]:
    """The manifest of shards.

    Args:
      rows: the verdicts on all records of the source, in order.
      files: the shards, dicts of name, records and bytes.
      classes: names of the labels, where they have any.
      version: of tokjax.

    Returns:
      records; fingerprint, a sha256 over ids, labels and digests of what is in the shards; encoding; frame_sizes, the most
      frequent with their counts; codecs; frames and seconds in all; verdicts, counted; classes; shards; source; what made it.
    """
    kept = [row for row in rows if row["verdict"] == KEPT]
    codecs = Counter(row["codec"] for row in kept)
    digest = hashlib.sha256()
    for row in kept:
        digest.update(f"{row['id']}\0{row['label']}\0{row['digest']}\n".encode(errors="surrogateescape"))
    digest.update(repr(rules.encoding).encode())
    return {
        "made by": f"tokjax {version}",
        "records": len(kept),
        "fingerprint": digest.hexdigest(),
        "encoding": _encoding(rules, codecs),
        "codecs": dict(codecs.most_common()),
        "frame_sizes": dict(Counter(f"{row['width']}x{row['height']}" for row in kept).most_common(MOST_SIZES)),
        "frames": sum(row["frames"] for row in kept),
        "seconds": round(sum(row["seconds"] for row in kept), 3),
        "bytes": sum(row["bytes"] for row in kept),
        "verdicts": dict(Counter(row["verdict"] for row in rows).most_common()),
        "classes": list(classes),
        "shards": list(files),
        "source": {key: stream[key] for key in ("kind", "path", "table", "split") if stream.get(key)}
        | {"fingerprint": source_fingerprint},
    }


def _encoding(rules: Rules, codecs: Counter[str]) -> Any:
    """Every video is encoded again, so where none is in H.264 there are images."""
    encoding = rules.encoding
    if not encoding:
        return "original bytes"
    quality = {"codec": "h264", "crf": CRF} if "h264" in codecs else {"codec": "jpeg", "quality": JPEG_QUALITY}
    return quality | {"short_side": encoding.short_side, "gop": encoding.gop}
