"""tokjax trains, judges and serves image-and-video tokenizers in JAX.

The names below are imported on first use, so that `import tokjax` costs nothing and loads no jax.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {"build": "tokjax.models.tokenizer", "load": "tokjax.conversion.package", "Tokenizer": "tokjax.models.tokenizer"}

__all__ = ["Tokenizer", "__version__", "build", "load"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'tokjax' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
