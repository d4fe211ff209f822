"""Values in other projects' configurations, taken over as one of ours or refused."""

from __future__ import annotations

from typing import Any

from tokjax.errors import ConfigError

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a name", tuple: "a list of whole numbers"}


def typed(name: str, value: Any, like: Any) -> Any:
    """The value as the type of `like`, one of our own.

    Raises:
      ConfigError: it is of another type.
    """
    if isinstance(like, tuple) and isinstance(value, list | tuple) and all(type(item) is int for item in value):
        return tuple(value)
    if isinstance(like, float) and type(value) in (int, float):
        return float(value)
    if type(value) is not type(like) or isinstance(like, tuple):
        raise ConfigError(f"{name} is {value!r}, but must be {_KINDS[type(like)]}")
    return value
