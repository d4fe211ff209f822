"""Which frames of a video make a clip."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Pick = Callable[[int], int]


def first(count: int) -> int:
    """The start that evaluation takes."""
    return 0


def middle(count: int) -> int:
    """The start that OmniTokenizer's evaluation takes: its window of 2 k + 1 frames lies around frame n // 2."""
    return count // 2


def frame_indices(times: np.ndarray, frames: int, frame_rate: float, rule: str, pick: Pick, stride: int = 1) -> np.ndarray:
    """The indices of a clip's frames.

    Args:
      times: presentation times of the video's frames in seconds after the first, [n] ascending.
      frames: of the clip; a video too short for it repeats its last frame.
      frame_rate: of the clip, frames per second; 0 takes every `stride`-th frame.
      rule: "exact" takes the frames nearest to evenly spaced times; "vidtok" and "omnitokenizer" are the published rules, see
        `vidtok_indices` and `thinned`.
      pick: from the number of possible starts, 1 or more, to the one taken, counted from 0.

    Returns:
      int64 [frames] ascending.
    """
    if rule == "vidtok":
        rate = _rate(times)
        indices = vidtok_indices(len(times), rate, frames, frame_rate or rate, pick)
    elif rule == "omnitokenizer":
        kept = thinned(times, frame_rate)
        start = pick(max(1, len(kept) - frames + 1))
        indices = kept[start : start + frames]
    elif frame_rate == 0:
        indices = pick(max(1, len(times) - (frames - 1) * stride)) + stride * np.arange(frames)
    else:
        indices = _nearest(times, frames, frame_rate, pick)
    padded = np.pad(indices, (0, frames - len(indices)), mode="edge")
    last = padded[padded < len(times)][-1]  # with a stride, the last frame of the clip need not be that of the video
    return np.minimum(padded, last if rule == "exact" and frame_rate == 0 else len(times) - 1)


def is_short(times: np.ndarray, frames: int, frame_rate: float, rule: str, stride: int = 1) -> bool:
    """Whether `frame_indices` would have to repeat frames, or squeeze them, for lack of others."""
    if rule == "omnitokenizer":
        return len(thinned(times, frame_rate)) < frames
    if frame_rate and rule == "exact":
        return bool(times[-1] + 1e-3 < (frames - 1) / frame_rate)
    if frame_rate and rule == "vidtok":
        return len(times) < (frames - 1) * round(_rate(times) / frame_rate) + 1
    return len(times) < (frames - 1) * stride + 1


def whole_video(times: np.ndarray, frames: int, frame_rate: float, rule: str, stride: int = 1, drop: bool = False) -> np.ndarray:
    """A whole video in clips that follow each other without a gap, as VidTok's evaluation takes it.

    Args:
      drop: leaves out what does not fill the last clip; otherwise that repeats its last frame.
      The others are as of `frame_indices`; with rule "vidtok", every round(video's rate / frame_rate)-th frame is taken.

    Returns:
      int64 [clips,frames].
    """
    if frame_rate == 0:
        kept = np.arange(0, len(times), stride)
    elif rule == "vidtok":
        kept = np.arange(0, len(times), max(1, round(_rate(times) / frame_rate)))
    elif rule == "omnitokenizer":
        kept = thinned(times, frame_rate)
    else:
        kept = _at(times, np.arange(int((times[-1] + 1e-3) * frame_rate) + 1) / frame_rate)
    if drop:
        return kept[: len(kept) // frames * frames].reshape(-1, frames)
    return np.pad(kept, (0, -len(kept) % frames), mode="edge").reshape(-1, frames)


def _rate(times: np.ndarray) -> float:
    """Frames per second on average."""
    return round((len(times) - 1) / times[-1], 6) if len(times) > 1 and times[-1] > 0 else 1.0


def _nearest(times: np.ndarray, frames: int, frame_rate: float, pick: Pick) -> np.ndarray:
    """The frame nearest to each of `start + k / frame_rate`, for a start from which the video is long enough, if there is one."""
    span = (frames - 1) / frame_rate
    fitting = int(np.sum(times + span <= times[-1] + 1e-3))  # containers round times to milliseconds
    return _at(times, times[pick(max(1, fitting))] + np.arange(frames) / frame_rate)


def _at(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The frame nearest to each of some times."""
    if len(times) == 1:
        return np.zeros(len(wanted), np.int64)
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


def thinned(times: np.ndarray, frame_rate: float) -> np.ndarray:
    """OmniTokenizer's choice of frames before it cuts a window (Wang et al., arXiv 2406.09399, its video data set).

    int(duration * frame_rate) frames, evenly spaced from the first to the last and rounded down, where the video's own rate is
    higher; all otherwise. The duration counts the last frame in.

    Returns:
      int64 [at least 1].
    """
    total, rate = len(times), _rate(times)
    if not 0 < frame_rate < rate:
        return np.arange(total)
    return np.linspace(0, total - 1, max(1, int(total / rate * frame_rate))).astype(np.int64)
