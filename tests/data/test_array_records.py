"""ArrayRecord shards: what goes in comes out, in order, and trains to the same batches."""

import numpy as np
import pytest
from clips import a_stream, barcode_video, encoded_image

from tokjax.cli import main
from tokjax.data.pipeline import training_batches
from tokjax.data.prepare import prepare_array_records
from tokjax.data.sources import DataError, open_source


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    for i in range(7):
        (folder / f"{i}.png").write_bytes(encoded_image((30 * i, 0, 255 - 30 * i)))
    (folder / "deep" / "x.jpg").write_bytes(encoded_image((9, 99, 199), kind="JPEG"))
    return folder


def test_round_trip_over_shards(images, tmp_path):
    written, bad = prepare_array_records(a_stream("images", images), tmp_path / "new" / "shards", 3)
    assert (written, bad) == (8, [])
    assert sorted(path.name for path in (tmp_path / "new").glob("**/*")) == [
        *(f"images-0000{i}-of-00003.array_record" for i in range(3)),
        "manifest.json",
        "shards",
        "verdicts.jsonl",
    ]
    files = open_source(a_stream("images", images))
    shards = open_source(a_stream("array_record", tmp_path / "new" / "shards" / "*.array_record"))
    assert [shards.record(i) for i in range(len(shards))] == [files.record(i) for i in range(8)]


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_are_those_of_the_folder(images, tmp_path, workers):
    prepare_array_records(a_stream("images", images), tmp_path / "shards", 2)
    both = [("images", images), ("array_record", tmp_path / "shards" / "*.array_record")]
    streams = [{"s": a_stream(*one)} for one in both]
    iterators = [training_batches(one, seed=0, bad_share=0.1, workers=n) for one, n in zip(streams, (0, workers), strict=True)]
    for _ in range(4):
        files, shards = (next(iterator) for iterator in iterators)
        assert files.ids == shards.ids
        np.testing.assert_array_equal(files.video, shards.video)
    for iterator in iterators:
        iterator.close()


def test_fingerprint_tells_other_shards(images, tmp_path):
    prints = []
    for shards in (2, 1):
        prepare_array_records(a_stream("images", images), tmp_path / f"s{shards}", shards)
        prints.append(open_source(a_stream("array_record", tmp_path / f"s{shards}" / "*")).fingerprint())
    assert prints[0] != prints[1]


def test_videos_with_damage_are_left_out_and_named(tmp_path):
    (tmp_path / "v").mkdir()
    good = barcode_video(12)
    for name, media in {"a.mp4": good, "b.mp4": b"text", "c.mp4": good[: len(good) // 2]}.items():
        (tmp_path / "v" / name).write_bytes(media)
    written, bad = prepare_array_records(a_stream("videos", tmp_path / "v"), tmp_path / "shards", 1)
    assert written == 1 and [name for name, _ in bad] == ["b.mp4", "c.mp4"] and "not a readable video" in bad[0][1]
    source = open_source(a_stream("array_record", tmp_path / "shards" / "*"))
    assert len(source) == 1 and source.record(0).media == good


def test_what_cannot_work_is_refused_and_leaves_nothing(images, tmp_path):
    stream = a_stream("images", images)
    with pytest.raises(DataError, match="8 records cannot be put into 9 shards"):
        prepare_array_records(stream, tmp_path / "shards", 9)
    with pytest.raises(DataError, match="images already exists"):
        prepare_array_records(stream, images, 1)
    for path in images.rglob("*.*"):
        path.write_bytes(b"text")
    with pytest.raises(DataError, match=r"no record of .*images can be used"):
        prepare_array_records(stream, tmp_path / "shards", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_a_still_image_in_a_stream_of_clips_is_a_bad_record(images, tmp_path):
    prepare_array_records(a_stream("images", images), tmp_path / "shards", 1)
    batches = training_batches({"s": a_stream("array_record", tmp_path / "shards" / "*", frames=5)}, seed=0, bad_share=0.1)
    with pytest.raises(DataError, match="is an image, but the stream's clips have 5 frames"):
        next(batches)
    batches.close()


def test_command(images, tmp_path, capsys):
    (images / "0.png").write_bytes(b"text")
    command = ["prepare", "images", str(images), "--output", str(tmp_path / "shards"), "--shards", "2"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "left out 0.png: unreadable: not a readable image" in out and "wrote 7 records" in out
    assert main(command) == 1
    assert (
        capsys.readouterr().err.startswith("tokjax: ") and len(open_source(a_stream("array_record", tmp_path / "shards/*"))) == 7
    )
