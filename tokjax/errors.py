"""What is raised for a configuration that cannot work."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConfigError(ValueError):
    """A configuration that cannot work; the message is one sentence for the user."""


def require(condition: bool, sentence: str) -> None:
    """Raises ConfigError with the sentence unless the condition holds."""
    if not condition:
        raise ConfigError(sentence)


def nearest(key: str, known: Iterable[str]) -> str:
    """A hint that names the known key most like this one, or nothing."""
    match = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else ""
