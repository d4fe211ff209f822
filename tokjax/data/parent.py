"""Workers that do not outlive the process that started them, even where that was killed."""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import Any

_NAME = "tokjax-parent"


def end_with_parent() -> None:
    """A thread ends this process when the one that started it through multiprocessing is gone; nothing in any other process."""
    parent = multiprocessing.parent_process()
    if parent is None or any(thread.name == _NAME for thread in threading.enumerate()):
        return
    threading.Thread(target=_end_after, args=(parent,), name=_NAME, daemon=True).start()


def _end_after(parent: Any) -> None:
    parent.join()
    os._exit(1)
