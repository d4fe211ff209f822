"""Frame choice: against the published code's answers, and against brute force."""

import json
import random

import numpy as np
import pytest

from tokjax.data.frames import first, frame_indices, is_short, middle, vidtok_indices, whole_video


def test_vidtok_rule_equals_the_published_code(golden):
    data = np.load(golden("vidtok/unit_metrics_data_ema.npz"))
    for i, case in enumerate(json.loads(str(data["meta"]))["frame_cases"]):
        total, frames, rate = case["total_frames"], case["sample_num_frames"], case["sample_fps"]

        def pick(count, case=case):
            return 0 if case["start_index"] == 0 else random.Random(case["rs"]).randint(0, count - 1)

        expected = data[f"out:frames/{i}"]
        np.testing.assert_array_equal(vidtok_indices(total, case["video_fps"], frames, rate, pick), expected)
        whole = frame_indices(np.arange(total) / case["video_fps"], frames, rate, "vidtok", pick)
        np.testing.assert_array_equal(whole, np.pad(expected, (0, frames - len(expected)), mode="edge"))


def test_vidtok_rule_starts_no_later_than_the_published_code():
    counts = []
    indices = vidtok_indices(20, 30.0, 3, 10, lambda count: counts.append(count) or count - 1)
    assert counts == [13] and indices.tolist() == [12, 15, 19]  # 0..12 may begin; the span is 7, the end point one later


@pytest.mark.parametrize("rate", [3.0, 8.0, 24.0, 50.0])
def test_exact_rule_takes_the_nearest_frames_from_every_start_that_fits(rate):
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.09, 60))
    times -= times[0]
    starts, counts = [], set()
    for nth in range(60):
        indices = frame_indices(times, 5, rate, "exact", lambda count, nth=nth: counts.add(count) or min(nth, count - 1))
        wanted = times[indices[0]] + np.arange(5) / rate
        assert indices.tolist() == [int(np.argmin(np.abs(times - one))) for one in wanted]
        starts.append(int(indices[0]))
    fitting = [i for i in range(60) if times[i] + 4 / rate <= times[-1] + 1e-3]
    assert sorted(set(starts)) == fitting and counts == {len(fitting)}


def test_native_rate_takes_neighbours():
    times = np.arange(20) / 25
    assert frame_indices(times, 5, 0.0, "exact", lambda count: count - 1).tolist() == [15, 16, 17, 18, 19]
    assert frame_indices(times, 5, 0.0, "exact", first).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("rate", "rule", "expected"),
    [(0.0, "exact", [0, 1, 2, 2, 2]), (10.0, "exact", [0, 1, 2, 2, 2]), (10.0, "vidtok", [0, 1, 2, 2, 2])],
)
def test_short_videos_repeat_their_last_frame(rate, rule, expected):
    assert frame_indices(np.arange(3) / 10, 5, rate, rule, first).tolist() == expected


@pytest.mark.parametrize("rule", ["exact", "vidtok"])
@pytest.mark.parametrize("rate", [0.0, 3.0])
def test_one_frame_is_enough(rate, rule):
    assert frame_indices(np.zeros(1), 1, rate, rule, first).tolist() == [0]
    assert frame_indices(np.zeros(1), 3, rate, rule, first).tolist() == [0, 0, 0]
    chosen = {frame_indices(np.arange(4) / 30, 1, rate, rule, lambda count, n=n: n % count).tolist()[0] for n in range(4)}
    assert chosen >= {0, 1, 2}


def test_a_stride_skips_frames_and_repeats_the_last_one_it_took():
    times = np.arange(10) / 30
    assert frame_indices(times, 4, 0.0, "exact", first, 3).tolist() == [0, 3, 6, 9]
    starts = {int(frame_indices(times, 3, 0.0, "exact", lambda count, n=n: n % count, 2)[0]) for n in range(20)}
    assert starts == set(range(6))
    assert frame_indices(times, 5, 0.0, "exact", first, 4).tolist() == [0, 4, 8, 8, 8]


@pytest.mark.parametrize("rate", [0.0, 5.0, 10.0, 12.5, 25.0, 40.0])
@pytest.mark.parametrize("total", [1, 7, 17, 30, 100])
def test_omnitokenizers_rule(rate, total):
    """Brute force over its statement: thin a faster video out, then a window of neighbours, in evaluation the middle one."""
    times, frames = np.arange(total) / 25, 5
    kept = list(range(total))
    if 0 < rate < 25 and total > 1:
        count = max(1, int(total / 25 * rate))
        kept = [int(i * (total - 1) / (count - 1)) if count > 1 else 0 for i in range(count)]
    middle_start = len(kept) // 2 - frames // 2
    expected = kept[middle_start : middle_start + frames] if len(kept) >= frames else kept + kept[-1:] * (frames - len(kept))
    assert frame_indices(times, frames, rate, "omnitokenizer", middle).tolist() == expected
    seen = {tuple(frame_indices(times, frames, rate, "omnitokenizer", lambda count, n=n: n % count)) for n in range(200)}
    assert seen == {tuple(kept[i : i + frames]) for i in range(len(kept) - frames + 1)} or len(kept) < frames


@pytest.mark.parametrize("total", [1, 16, 17, 18, 40])
def test_a_whole_video_by_vidtoks_rule(total):
    """Its evaluation script: every round(fps / rate)-th frame, cut into clips, the last one repeating its last index."""
    times = np.arange(total) / 29.97
    for rate in (30.0, 10.0, 8.0):
        ids = list(range(0, total, max(1, round(29.97 / rate)) if total > 1 else 1))
        clips = [ids[i : i + 17] for i in range(0, len(ids), 17)]
        clips[-1] += [clips[-1][-1]] * (17 - len(clips[-1]))
        assert whole_video(times, 17, rate, "vidtok").tolist() == clips
    dropped = whole_video(times, 17, 0.0, "exact", drop=True)
    assert dropped.tolist() == [list(range(i, i + 17)) for i in range(0, total - 16, 17)]


def test_a_whole_video_at_a_rate_takes_the_nearest_frames_of_a_variable_rate():
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.09, 60))
    times -= times[0]
    flat = whole_video(times, 4, 12.0, "exact").ravel()
    wanted = np.arange(int(times[-1] * 12) + 1) / 12
    assert flat[: len(wanted)].tolist() == [int(np.argmin(np.abs(times - one))) for one in wanted]
    assert len(flat) == -(-len(wanted) // 4) * 4 and set(flat[len(wanted) :]) <= {flat[len(wanted) - 1]}
    assert whole_video(times, 5, 0.0, "exact", stride=7).tolist() == [[0, 7, 14, 21, 28], [35, 42, 49, 56, 56]]


@pytest.mark.parametrize(
    ("total", "frames", "rate", "rule", "stride", "short"),
    [
        (5, 5, 0.0, "exact", 1, False),
        (4, 5, 0.0, "exact", 1, True),
        (9, 5, 0.0, "exact", 2, False),
        (8, 5, 0.0, "exact", 2, True),
        (13, 5, 10.0, "exact", 1, False),  # 30 frames a second: 12 intervals are 0.4 seconds
        (12, 5, 10.0, "exact", 1, True),
        (13, 5, 10.0, "vidtok", 1, False),
        (12, 5, 10.0, "vidtok", 1, True),
        (15, 5, 10.0, "omnitokenizer", 1, False),
        (14, 5, 10.0, "omnitokenizer", 1, True),
        (1, 1, 10.0, "exact", 1, False),
    ],
)
def test_what_counts_as_short(total, frames, rate, rule, stride, short):
    assert is_short(np.arange(total) / 30, frames, rate, rule, stride) == short
