"""What a configuration is compared with: the defaults. Keys that are not theirs are refused, values must be of their type."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from tokjax.defaults import FAMILIES, defaults, stream
from tokjax.errors import nearest, require

# Tuples that are empty by default and hold texts rather than whole numbers.
_TEXTS = ("freeze", "evaluation_metrics", "evaluation_weights")


def reference_for(config: ConfigDict) -> ConfigDict:
    """Every key that this config may have, with its default: those of its model family, and of a stream for each of its streams.

    Raises:
      ConfigError: no family, or one that does not exist.
    """
    family = _section(_section(config, "model"), "family", "")
    hint = nearest(str(family), FAMILIES)
    require(family in tuple(FAMILIES), f"config.model.family must be one of {', '.join(FAMILIES)}, not {family!r}{hint}")
    reference = defaults(family)
    for split in ("train", "validation"):
        for name in _section(_section(config, "data"), split):
            reference.data[split][name] = stream("images", "")
    return reference


def refuse_unknown(config: ConfigDict) -> None:
    """Refuses keys that do not exist or are missing, and values of another type than their default.

    Raises:
      ConfigError
    """
    reference = reference_for(config)
    if isinstance(config.get("stages"), ConfigDict):
        reference.stages = config.stages  # tokjax.training.stages checks them
    _compare(config, reference, "config")


def completed(config: ConfigDict) -> ConfigDict:
    """The config with the defaults of keys it lacks, as one does that was written before they existed."""
    if _section(_section(config, "model"), "family", "") not in tuple(FAMILIES):
        return config  # nothing to complete it from; `tokjax.config.validate` says so

    def fill(node: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
        inner = {key: fill(node[key], value) for key, value in reference.items() if _both_sections(node.get(key), value)}
        return reference | node | inner

    return ConfigDict(fill(config.to_dict(), reference_for(config).to_dict()))


def _both_sections(one: Any, other: Any) -> bool:
    return isinstance(one, dict) and isinstance(other, dict)


def _section(node: Any, key: str, default: Any = ()) -> Any:
    return node.get(key, default) if isinstance(node, ConfigDict) else default


def _compare(node: ConfigDict, reference: ConfigDict, path: str) -> None:
    for key, value in node.items():
        require(key in reference, f"unknown key {path}.{key}{nearest(key, reference)}")
        if isinstance(reference[key], ConfigDict):
            section = isinstance(value, ConfigDict)
            require(section, f"{path}.{key} must be a section with the keys {', '.join(reference[key])}")
            _compare(value, reference[key], f"{path}.{key}")
        else:
            _check_type(value, reference[key], f"{path}.{key}")
    missing = [key for key in reference if key not in node]
    require(not missing, f"{path} lacks the key {missing[0] if missing else ''}; start from tokjax.config.defaults()")


def _check_type(value: Any, default: Any, path: str) -> None:
    if isinstance(default, tuple):
        element = default[0] if default else "" if path.rpartition(".")[2] in _TEXTS else 0
        fits = isinstance(value, tuple) and all(_is_like(one, element) for one in value)
        require(fits, f"{path} must be a tuple of {_described(element)}s, not {value!r}")
    else:
        require(_is_like(value, default), f"{path} must be a {_described(default)}, not {value!r}")


def _is_like(value: Any, default: Any) -> bool:
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(default)


def _described(default: Any) -> str:
    return {bool: "truth value (True or False)", int: "whole number", float: "number", str: "text"}[type(default)]
