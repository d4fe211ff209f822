"""Order of training data, replacement of bad records, and evaluation passes."""

import logging
import os
import signal
import time
from collections import Counter

import numpy as np
import pytest
from clips import a_stream, barcode_video, encoded_image

from tokjax.data.decode import decode_clip
from tokjax.data.pipeline import evaluation_batches, training_batches
from tokjax.data.sources import DataError

SHADES = {f"{i:02d}.png": (10 * i, 255 - 10 * i, 128) for i in range(14)}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "videos").mkdir()
    noise = np.random.default_rng(0)
    for name, colour in SHADES.items():
        size = tuple(noise.integers(18, 40, 2).tolist())
        (tmp_path / "images" / name).write_bytes(encoded_image(colour, size))
    for i in range(4):
        (tmp_path / "videos" / f"{i}.mp4").write_bytes(barcode_video(20 + i, g="8"))
    return tmp_path


def streams(folder, **changes):
    images = a_stream("images", folder / "images", **changes)
    return {"images": images, "videos": a_stream("videos", folder / "videos", frames=5, batch=2, weight=2.0, **changes)}


def first_frames(path, frames):
    """The middle of the first frames of a bar code video, [frames,64,64,3]."""
    return decode_clip(path.read_bytes(), lambda times: range(frames))[:, :, 48:112]


def drawn(steps, streams, **arguments):
    batches = training_batches(streams, **({"seed": 3, "bad_share": 0.1} | arguments))
    try:
        return [next(batches) for _ in range(steps)]
    finally:
        batches.close()


def same(first, second):
    return len(first) == len(second) and all(
        (a.stream, a.ids) == (b.stream, b.ids) and np.array_equal(a.video, b.video) for a, b in zip(first, second, strict=True)
    )


def test_order_depends_on_the_seed_and_the_step_alone(folder):
    reference = drawn(9, streams(folder))
    assert same(drawn(9, streams(folder)), reference)
    for start in (1, 4):
        assert same(drawn(9 - start, streams(folder), start=start), reference[start:])
    assert not same(drawn(9, streams(folder), seed=4), reference)


@pytest.mark.parametrize("workers", [1, 3])
def test_order_does_not_depend_on_workers(folder, workers):
    assert same(drawn(5, streams(folder), start=2, workers=workers), drawn(7, streams(folder))[2:])


def test_hosts_get_parts_of_the_same_batches(folder):
    hosts = [drawn(6, streams(folder), start=3, host=host, hosts=2) for host in range(2)]
    for whole, left, right in zip(drawn(6, streams(folder), start=3), *hosts, strict=True):
        assert whole.ids == left.ids + right.ids
        np.testing.assert_array_equal(whole.video, np.concatenate([left.video, right.video]))


def test_streams_are_mixed_by_weight_and_every_pass_draws_each_record_once(folder):
    batches = drawn(21, streams(folder))
    assert Counter(batch.stream for batch in batches) == {"images": 7, "videos": 14}
    images = [name for batch in batches if batch.stream == "images" for name in batch.ids]
    assert sorted(images[:14]) == sorted(images[14:28]) == sorted(SHADES) and images[:14] != images[14:28]
    for batch in batches:
        expected = (4, 1, 16, 16, 3) if batch.stream == "images" else (2, 5, 16, 16, 3)
        assert batch.video.shape == expected and batch.video.dtype == np.uint8


def test_pixels_belong_to_their_ids(folder):
    one = {"images": streams(folder)["images"]}
    for batch in drawn(4, one):
        for name, clip in zip(batch.ids, batch.video, strict=True):
            assert (clip == SHADES[name]).all()
    wide = a_stream("videos", folder / "videos", frames=5, resolution=64, batch=2, crop="centre", flip=False)
    starts = set()
    for batch in drawn(8, {"videos": wide}):
        for name, clip in zip(batch.ids, batch.video, strict=True):
            whole = first_frames(folder / "videos" / name, 20 + int(name[0]))
            found = {start for start in range(len(whole) - 4) if np.array_equal(clip, whole[start : start + 5])}
            assert len(found) == 1
            starts |= found
    assert len(starts) > 5


def test_a_new_stream_does_not_reorder_another(folder):
    alone = drawn(6, {"videos": streams(folder)["videos"]})
    both = [batch for batch in drawn(12, streams(folder)) if batch.stream == "videos"][:6]
    assert same(alone, both)


def test_streams_over_the_same_data_are_ordered_by_their_names(folder):
    one = streams(folder)["images"]
    batches = drawn(6, {"a": one, "b": one})
    assert [batch.ids for batch in batches if batch.stream == "a"] != [batch.ids for batch in batches if batch.stream == "b"]


def test_bad_records_are_replaced_counted_and_named(folder, caplog):
    (folder / "images" / "03.png").write_bytes(b"text")
    (folder / "images" / "05.png").write_bytes(b"")
    batches = training_batches({"images": streams(folder)["images"]}, seed=0, bad_share=0.2)
    with caplog.at_level(logging.WARNING):
        ids = [name for _ in range(12) for name in next(batches).ids]
    batches.close()
    assert {(row["stream"], row["id"]) for row in batches.bad} == {("images", "03.png"), ("images", "05.png")}
    assert len(caplog.records) == 2 and "03.png is left out: not a readable image" in caplog.text
    assert len(ids) == 48 and not {"03.png", "05.png"} & set(ids)


def test_bad_records_are_replaced_the_same_way_by_workers(folder):
    (folder / "images" / "03.png").write_bytes(b"text")
    one = {"images": streams(folder)["images"]}
    assert same(drawn(8, one, workers=2), drawn(8, one))


@pytest.mark.parametrize(
    ("bad", "share", "sentence"), [(3, 0.1, "2 of its 14"), (14, 0.1, "2 of its 14"), (14, 1.0, "16 records")]
)
def test_too_many_bad_records_stop_the_run(folder, bad, share, sentence):
    for name in list(SHADES)[:bad]:
        (folder / "images" / name).write_bytes(b"text")
    with pytest.raises(DataError, match=rf"'images'.*{sentence}.*png: not a readable image"):
        drawn(20, {"images": streams(folder)["images"]}, bad_share=share)


def test_a_batch_that_hosts_do_not_divide_is_refused(folder):
    with pytest.raises(DataError, match="'videos': its batch of 2 cannot be divided among 4 hosts"):
        training_batches(streams(folder), seed=0, hosts=4, bad_share=0.1)
    with pytest.raises(DataError, match=r"batch of 4 .* 3 hosts"):
        evaluation_batches(streams(folder)["images"], hosts=3)


def test_a_killed_worker_ends_the_run_soon(folder):
    import multiprocessing

    batches = training_batches(streams(folder), seed=0, bad_share=0.1, workers=1)
    next(batches)
    (worker,) = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="terminated unexpectedly"):
        while True:
            next(batches)
    assert time.monotonic() - began < 20
    batches.close()
    assert not multiprocessing.active_children()


def test_evaluation_reads_every_record_once_in_order(folder):
    batches = list(evaluation_batches(streams(folder)["images"]))
    assert [name for ids, _, _ in batches for name in ids] == [*SHADES, "", ""]
    assert [valid.tolist() for _, _, valid in batches] == [[True] * 4] * 3 + [[True, True, False, False]]
    for ids, video, valid in batches:
        for name, clip in zip(np.array(ids)[valid], video[valid], strict=True):
            assert (clip == SHADES[name]).all()
    assert (batches[-1][1][2:] == SHADES["13.png"]).all()


def test_evaluation_takes_first_frames_and_the_centre_without_flips(folder):
    stream = a_stream("videos", folder / "videos", frames=5, resolution=64, batch=4)
    (whole,) = evaluation_batches(stream)
    for i, clip in enumerate(whole[1]):
        np.testing.assert_array_equal(clip, first_frames(folder / "videos" / f"{i}.mp4", 5))


def test_evaluation_leaves_out_bad_records_and_hosts_agree(folder, caplog):
    (folder / "images" / "05.png").write_bytes(b"text")
    stream = streams(folder)["images"]
    batches = evaluation_batches(stream)
    whole = list(batches)
    assert whole[1][0] == ["04.png", "", "06.png", "07.png"] and whole[1][2].tolist() == [True, False, True, True]
    assert [row["id"] for row in batches.bad] == ["05.png"] and "05.png is left out" in caplog.text
    hosts = [list(evaluation_batches(stream, host=host, hosts=2)) for host in range(2)]
    for (ids, video, valid), left, right in zip(whole, *hosts, strict=True):
        assert ids == left[0] + right[0] and valid.tolist() == [*left[2], *right[2]]
        np.testing.assert_array_equal(video[valid], np.concatenate([left[1][left[2]], right[1][right[2]]]))


def test_evaluation_without_any_good_record_fails(folder):
    for name in SHADES:
        (folder / "images" / name).write_bytes(b"text")
    with pytest.raises(DataError, match=r"no record of .*images can be used, the last is 13\.png"):
        list(evaluation_batches(streams(folder)["images"]))
