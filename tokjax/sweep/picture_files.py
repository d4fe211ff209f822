"""Pictures as text inside a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from PIL import Image


def data_uri(frames: Sequence[Image.Image], milliseconds: int) -> str:
    """One frame as lossless PNG, several as a lossless animated WebP without end."""
    buffer = io.BytesIO()
    kind = "PNG" if len(frames) == 1 else "WEBP"
    more = {} if len(frames) == 1 else {"save_all": True, "append_images": frames[1:], "duration": milliseconds, "loop": 0}
    frames[0].save(buffer, kind, **({"lossless": True} | more if more else {"optimize": True}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
