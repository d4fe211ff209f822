"""For any streams, weights, hosts, workers and restarts, a step sees the same records: drawn at random, by Hypothesis."""

from collections import Counter

import numpy as np
import pytest
from clips import a_stream, encoded_image

from tokjax.data.pipeline import training_batches
from tokjax.data.records import Record

hypothesis = pytest.importorskip("hypothesis", reason='pip install "tokjax[test]"')
st = hypothesis.strategies


class Numbers:
    """A source of pictures of one value, whose ids are their positions."""

    def __init__(self, name, count):
        self.name, self.count = name, count

    def __len__(self):
        return self.count

    def record(self, index):
        return Record(f"{self.name}/{index}", "image", bytes([index % 256]))

    def fingerprint(self):
        return f"{self.name} {self.count}"

    def size(self):
        return self.count


@pytest.fixture(autouse=True)
def decoding_is_free(monkeypatch):
    monkeypatch.setattr("tokjax.data.clips.decode", lambda record, choose: np.full((1, 4, 4, 3), record.media[0], np.uint8))


def ids(streams, steps, **arguments):
    """(stream, ids) of some steps; only threads here, as a worker would not see these sources' decoder."""
    open_with = {name: Numbers(name, stream["count"]) for name, stream in streams.items()}
    plain = {name: {key: value for key, value in stream.items() if key != "count"} for name, stream in streams.items()}
    batches = training_batches(plain, bad_share=0.1, open_with=lambda stream: open_with[stream["path"]], **arguments)
    try:
        return [(batch.stream, batch.ids) for batch in (next(batches) for _ in range(steps))]
    finally:
        batches.close()


def a_set(draw_counts):
    return {
        f"s{number}": a_stream("images", f"s{number}", batch=4 * batch, weight=weight, resolution=4) | {"count": count}
        for number, (count, batch, weight) in enumerate(draw_counts)
    }


SETS = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 3), st.sampled_from([0.01, 0.3, 1.0, 2.5, 7.0])), min_size=1, max_size=5
).map(a_set)


@hypothesis.settings(max_examples=15, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(SETS, st.integers(0, 2**32), st.integers(0, 2_000_000), st.sampled_from([1, 2, 4]), st.integers(0, 5))
def test_ids_are_the_same_for_any_hosts_and_restart(streams, seed, begin, hosts, restart):
    steps = 6
    whole = ids(streams, steps, seed=seed, start=begin)
    parts = [
        ids(streams, restart, seed=seed, start=begin, host=host, hosts=hosts)
        + ids(streams, steps - restart, seed=seed, start=begin + restart, host=host, hosts=hosts)
        for host in range(hosts)
    ]
    for number, (name, expected) in enumerate(whole):
        assert [part[number][0] for part in parts] == [name] * hosts
        assert [one for part in parts for one in part[number][1]] == expected
        assert len(expected) == streams[name]["batch"]


@hypothesis.settings(max_examples=4, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(SETS, st.integers(0, 1000))
def test_streams_come_as_often_as_their_weights_say(streams, begin):
    steps = 60
    counts = Counter(name for name, _ in ids(streams, steps, seed=1, start=begin))
    total = sum(stream["weight"] for stream in streams.values())
    for name, stream in streams.items():
        assert abs(counts[name] - steps * stream["weight"] / total) <= len(streams)


def test_streams_of_equal_weight_take_turns():
    for count in (2, 4):
        names = [name for name, _ in ids(a_set([(9, 1, 1.0)] * count), 4 * count, seed=0)]
        assert all(len(set(names[begin : begin + count])) == count for begin in range(0, len(names), count))


@pytest.mark.slow
def test_workers_give_the_same_ids(tmp_path, monkeypatch):
    """Real files and processes, for one set of streams."""
    monkeypatch.undo()
    for name, count in {"a": 7, "b": 3}.items():
        (tmp_path / name).mkdir()
        for number in range(count):
            (tmp_path / name / f"{number}.png").write_bytes(encoded_image((number, 0, 0), (6, 6)))
    weights = {"a": 0.3, "b": 1.0}
    streams = {name: a_stream("images", tmp_path / name, batch=2, weight=weights[name], resolution=4) for name in weights}
    seen = []
    for workers, hosts in ((0, 1), (1, 2)):
        parts = []
        for host in range(hosts):
            how = {"start": 1000, "workers": workers, "host": host, "hosts": hosts}
            batches = training_batches(streams, seed=5, bad_share=0.1, **how)
            parts.append([next(batches) for _ in range(5)])
            batches.close()
        seen.append([(rows[0].stream, [name for row in rows for name in row.ids]) for rows in zip(*parts, strict=True)])
    assert seen[0] == seen[1]
