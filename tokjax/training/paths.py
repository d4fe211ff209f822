"""Arrays of a tree by name, as in `encoder/level_0/block_0/conv/kernel`, and patterns for such names.

A pattern is a name with `*`, `?` or `[...]` in it as in a shell, where `*` reaches across `/`. It stands for the arrays that it
matches and for all below the modules that it matches: `encoder`, `encoder/*` and `enc*` name the whole encoder.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax


def names(tree: Any) -> list[str]:
    """Of all arrays, in the tree's order."""
    return [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def matching(tree: Any, patterns: Sequence[str]) -> Any:
    """The tree with True for each array that a pattern stands for, and False for the others."""
    return jax.tree_util.tree_map_with_path(lambda path, _: any(_stands_for(one, _name(path)) for one in patterns), tree)


def require_matches(known: Sequence[str], patterns: Sequence[str], key: str) -> None:
    """Refuses a pattern that stands for nothing.

    Args:
      known: names of arrays.
      key: of the config, which holds the patterns.

    Raises:
      ValueError: names the modules and arrays most like it.
    """
    for pattern in patterns:
        if any(_stands_for(pattern, name) for name in known):
            continue
        enclosing = dict.fromkeys(part for name in known for part in _with_modules(name))
        close = difflib.get_close_matches(pattern, list(enclosing), n=3, cutoff=0.3)
        raise ValueError(
            f"{key} has the pattern {pattern!r}, which matches no parameter; names like it: {', '.join(close) or known[0]}"
        )


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _stands_for(pattern: str, name: str) -> bool:
    return any(fnmatchcase(part, pattern) for part in _with_modules(name))


def _with_modules(name: str) -> list[str]:
    """The name after those of the modules around it, the outermost first."""
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
