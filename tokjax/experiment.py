"""Experiment files and single values from the command line become a config."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from tokjax.config import from_json
from tokjax.errors import ConfigError, nearest
from tokjax.training.stages import OWN_KEYS, stage_configs


def load_experiment(spec: str) -> ConfigDict:
    """The config of `path/to/file.py` or `path/to/file.py:variant`; or one that was written as JSON, as a workdir's config.json.

    Raises:
      ConfigError: no such file, no `get_config` in it, or no such variant.
    """
    path, _, variant = spec.partition(":")
    if path.endswith(".json") and Path(path).is_file():
        if variant:
            raise ConfigError(f"{path} is a single config and has no variant {variant!r}")
        return from_json(Path(path).read_text())
    if not Path(path).is_file() or not path.endswith(".py"):
        raise ConfigError(
            f"no experiment file {path}; give a Python file that defines get_config(variant), e.g. experiments/quickstart.py"
        )
    module_spec = importlib.util.spec_from_file_location(f"experiment_{Path(path).stem}", path)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ConfigError(f"{path} defines no get_config(variant)")
    variants = getattr(module, "VARIANTS", {})
    if variant and variant not in variants:
        raise ConfigError(
            f"{path} has no variant {variant!r}{nearest(variant, variants)}; it has: {', '.join(variants) or 'none'}"
        )
    return module.get_config(variant) if variant else module.get_config()


def apply_overrides(config: ConfigDict, overrides: list[str]) -> None:
    """Sets single values in place from `--config.a.b=value` strings; a value is a Python literal, anything else is a string.

    A value of one stage is named by the stage's number or name, as in `--config.stages.1.optimizer.learning_rate=1e-5`.

    Raises:
      ConfigError: not of that form, an unknown key, or a value of another type.
    """
    for override in overrides:
        name, equals, text = override.partition("=")
        if not name.startswith("--config.") or not equals:
            raise ConfigError(f"cannot read the argument {override!r}; single values are set by --config.section.key=value")
        path = name.removeprefix("--config.").split(".")
        if path[0] == "stages" and len(path) > 2:
            _set_in_stage(config, path[1:], text, name)
        else:
            _descend(config, path[:-1], name)[path[-1]] = _cast(text, _value(config, path, name), name)


def _set_in_stage(config: ConfigDict, path: list[str], text: str, name: str) -> None:
    """Sets what may not differ in this stage so far; its type is that of the value which holds there."""
    which, *sections, key = path
    named = {part.name: number for number, part in config.stages.items()}
    number = named.get(which, which)
    node = _child(config.stages, number, name)
    holds = stage_configs(config)[int(number)] if sections or key not in OWN_KEYS else ConfigDict(OWN_KEYS)
    value = _cast(text, _value(holds, [*sections, key], name), name)
    for section in sections:
        if section not in node:
            node[section] = ConfigDict()
        node = node[section]
    with node.ignore_type():
        node[key] = value


def _descend(node: Any, path: list[str], name: str) -> Any:
    for key in path:
        node = _child(node, key, name)
    return node


def _value(node: Any, path: list[str], name: str) -> Any:
    value = _descend(node, path, name)
    if isinstance(value, ConfigDict):
        raise ConfigError(f"{name} is a section, not a value; its keys are: {', '.join(value)}")
    return value


def _child(node: Any, key: str, name: str) -> Any:
    if not isinstance(node, ConfigDict) or key not in node:
        known = list(node) if isinstance(node, ConfigDict) else []
        raise ConfigError(f"unknown key {key!r} in {name}{nearest(key, known)}")
    return node[key]


def _cast(text: str, old: Any, name: str) -> Any:
    if isinstance(old, str):
        return text
    try:
        value = ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (ValueError, SyntaxError):
        value = text
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(old, tuple) and isinstance(value, list):
        return tuple(value)
    if type(value) is not type(old):
        raise ConfigError(f"{name} wants a value of type {type(old).__name__}, as in {old!r}; it got {text!r}")
    return value
