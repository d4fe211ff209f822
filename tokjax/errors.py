"""What is raised for a configuration that cannot work, and what a person is told of any error."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

TOO_LARGE = (
    "the device has too little memory for this: take a smaller batch, --tile or a smaller --chunk-frames, for training "
    "--config.model.remat=true or more devices too; `tokjax inspect` estimates what a config needs"
)


class ConfigError(ValueError):
    """A configuration that cannot work; the message is one sentence for the user."""


def require(condition: bool, sentence: str) -> None:
    """Raises ConfigError with the sentence unless the condition holds."""
    if not condition:
        raise ConfigError(sentence)


def nearest(key: str, known: Iterable[str]) -> str:
    """A hint that names the known key most like this one, or nothing, as for a key that is known."""
    known = list(known)
    match = [] if key in known else difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else ""


def is_too_large(error: BaseException) -> bool:
    """Whether a device ran out of memory."""
    return str(error).startswith("RESOURCE_EXHAUSTED")


def in_one_line(error: BaseException) -> str:
    """What it says, without line breaks; its kind where it says nothing."""
    return TOO_LARGE if is_too_large(error) else " ".join(str(error).split()) or type(error).__name__
