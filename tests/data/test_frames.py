"""Frame choice: against the published code's answers, and against brute force."""

import json
import random

import numpy as np
import pytest

from tokjax.data.frames import first, frame_indices, vidtok_indices


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
