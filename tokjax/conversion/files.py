"""Video and image files become token files, and back, clip by clip in bounded memory.

A video longer than a clip is cut into clips that are encoded on their own, as in the published evaluation. A token file (.npz)
holds their tokens one after the other in time, with what is needed to give back the same length, size and frame rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from tokjax import __version__
from tokjax.conversion.package import digest
from tokjax.data.decode import read_image, read_video, write_image, write_video
from tokjax.data.sources import IMAGE_SUFFIXES
from tokjax.models.tokenizer import Encoded, Tokenizer
from tokjax.training.workdir import write_atomically

Progress = Callable[[int], None]
