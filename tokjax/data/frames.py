"""Which frames of a video make a clip."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Pick = Callable[[int], int]


def first(count: int) -> int:
    """The start that evaluation takes."""
    return 0


def frame_indices(times: np.ndarray, frames: int, frame_rate: float, rule: str, pick: Pick) -> np.ndarray:
    """The indices of a clip's frames.

    Args:
      times: presentation times of the video's frames in seconds after the first, [n] ascending.
      frames: of the clip; a video too short for it repeats its last frame.
      frame_rate: of the clip, frames per second; 0 takes neighbouring frames.
      rule: "exact" takes the frames nearest to evenly spaced times; "vidtok" is the published rule, see `vidtok_indices`.
      pick: from the number of possible starts, 1 or more, to the one taken, counted from 0.

    Returns:
      int64 [frames] ascending.
    """
    if rule == "vidtok":
        rate = round((len(times) - 1) / times[-1], 6) if len(times) > 1 and times[-1] > 0 else 1.0
        indices = vidtok_indices(len(times), rate, frames, frame_rate or rate, pick)
    elif frame_rate == 0:
        indices = pick(max(1, len(times) - frames + 1)) + np.arange(frames)
    else:
        indices = _nearest(times, frames, frame_rate, pick)
    padded = np.pad(indices, (0, frames - len(indices)), mode="edge")
    return np.minimum(padded, len(times) - 1)


def _nearest(times: np.ndarray, frames: int, frame_rate: float, pick: Pick) -> np.ndarray:
    """The frame nearest to each of `start + k / frame_rate`, for a start from which the video is long enough, if there is one."""
    span = (frames - 1) / frame_rate
    fitting = int(np.sum(times + span <= times[-1] + 1e-3))  # containers round times to milliseconds
    wanted = times[pick(max(1, fitting))] + np.arange(frames) / frame_rate
    if len(times) == 1:
        return np.zeros(frames, np.int64)
    after = np.searchsorted(times, wanted).clip(1, len(times) - 1)
    return np.where(wanted - times[after - 1] <= times[after] - wanted, after - 1, after)


def vidtok_indices(total: int, video_rate: float, frames: int, frame_rate: float, pick: Pick) -> np.ndarray:
    """VidTok's rule (Tang et al., arXiv 2412.13061, `VidTokDataset`): its end point lies one frame late.

    So frames are span / (n - 1) apart, a little more than the interval, and a short video is squeezed to fit.

    Returns:
      int64 [min(frames, total)].
    """
    count = min(frames, total)
    span = (count - 1) * round(video_rate / frame_rate) + 1
    start = pick(max(1, total - span))
    return np.linspace(start, min(total - 1, start + span), count).astype(np.int64)
