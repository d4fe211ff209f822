"""Twelve kinds of broken and odd media: the stated verdict when prepared, and the right pixels of those that are used."""

import io
import json
import re

import numpy as np
import pytest
from broken import KINDS, WHOLE, cmyk_jpeg, cut, turned_image, wide_png
from clips import a_stream, barcode_video, encoded_image, numbers
from PIL import Image, ImageOps

from tokjax.data import containers
from tokjax.data.clips import read_clip
from tokjax.data.decode import decode_clip, decode_image, frame_times
from tokjax.data.examine import examine
from tokjax.data.images import MAX_RATIO
from tokjax.data.prepare import prepare_array_records
from tokjax.data.records import BadRecord, Record
from tokjax.data.sources import open_source


def verdict_of(name, media):
    record = Record(name, "image" if name.endswith((".jpg", ".png", ".webp")) else "video", media)
    try:
        examine(record)
    except BadRecord as error:
        assert str(error)
        return error.verdict
    return "kept"


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_its_verdict(kind):
    name, make, expected = KINDS[kind]
    assert re.fullmatch(expected, verdict_of(name, make())), kind


@pytest.mark.parametrize("kind", WHOLE)
def test_what_was_cut_is_fine_when_whole(kind):
    assert verdict_of(f"a.{kind}", WHOLE[kind]()) == "kept"


def test_a_cut_matroska_is_a_shorter_video():
    """It has no index that says what is missing: the frames that are there are right."""
    media = cut(barcode_video(40, container="matroska", g="8"), 0.5)
    clip = decode_clip(media, lambda times: range(len(times)))
    assert 0 < len(clip) < 40 and numbers(clip) == list(range(len(clip)))


def test_pixels_of_odd_images():
    assert (decode_image(wide_png(200 * 256 + 99)) == 200).all()
    red = decode_image(cmyk_jpeg((0, 255, 255, 0)))
    assert red.shape == (1, 16, 16, 3) and np.abs(red.astype(int) - (255, 0, 0)).max() < 10
    assert (decode_image(KINDS["animated WebP"][1]()) == (250, 0, 0)).all()  # its first frame
    upright = decode_image(turned_image())
    assert upright.shape == (1, 6, 4, 3) and upright[0, :2].min() == 255 and upright[0, 2:].max() == 0


@pytest.mark.parametrize("orientation", range(10))
def test_all_orientations_are_those_of_pillow_also_beside_damaged_tags(orientation):
    image, exif = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)), Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "maker"
    expected = np.asarray(ImageOps.exif_transpose(_with(image, exif.tobytes())))
    damaged = exif.tobytes().replace(b"\x01\x0f\x00\x02", b"\x01\x00\x00\x02")  # the text is said to be the width
    assert damaged != exif.tobytes()
    for tags in (exif.tobytes(), damaged):
        buffer = io.BytesIO()
        image.save(buffer, "PNG", exif=tags)
        np.testing.assert_array_equal(decode_image(buffer.getvalue())[0], expected)


def _with(image, tags):
    image.save(buffer := io.BytesIO(), "PNG", exif=tags)
    return Image.open(buffer)


def test_a_frame_larger_than_the_file_said_is_refused(monkeypatch):
    """What the header says passes; the frames do not."""
    media = barcode_video(2)
    sizes = iter([(16, 16)] * 9)
    real = containers.check_size
    monkeypatch.setattr(containers, "check_size", lambda *size: real(*next(sizes)))
    assert decode_clip(media, lambda times: [0]).shape == (1, 64, 160, 3)
    sizes = iter([(16, 16), (9000, 9000)])
    with pytest.raises(BadRecord, match="is 9000x9000"):
        decode_clip(media, lambda times: [0])


def test_a_pixel_is_enlarged(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded_image((200, 100, 50), (1, 1)))
    stream = a_stream("images", tmp_path)
    _, clip = read_clip(open_source(stream), 0, stream, np.random.default_rng(0))
    assert clip.shape == (1, 16, 16, 3) and (clip == (200, 100, 50)).all()


def test_a_turned_video_is_upright():
    assert decode_clip(KINDS["turned video"][1](), lambda times: [0]).shape == (1, 160, 64, 3)


def test_times_of_a_variable_frame_rate():
    record = Record("a.mp4", "video", KINDS["variable frame rate"][1]())
    np.testing.assert_allclose(frame_times(record), np.array([0, 1, 5, 6, 20, 21, 22, 40]) / 30, atol=1e-6)


def test_times_that_cannot_be_are_refused():
    week = 7 * 86_400 * 30
    for last, fine in ((week, True), (week + 30, False)):
        media = barcode_video(3, container="matroska", stamps=[0, 1, last])
        if fine:
            assert frame_times(Record("a", "video", media))[-1] == 7 * 86_400
        else:
            with pytest.raises(BadRecord, match="has frames that are 604801 seconds apart"):
                frame_times(Record("a", "video", media))


def test_sides_that_just_fit_are_used():
    assert decode_image(encoded_image((1, 2, 3), (MAX_RATIO, 1))).shape == (1, 1, MAX_RATIO, 3)
    with pytest.raises(BadRecord, match="is 65x1, more than 67,108,864 pixels or one side more than 64 times the other"):
        decode_image(encoded_image((1, 2, 3), (MAX_RATIO + 1, 1)))


def test_all_of_them_prepared_together(tmp_path):
    """Every file is in the log, the good ones in the shards, and nothing is made up."""
    for number, (name, make, _) in enumerate(KINDS.values()):
        if name.endswith((".jpg", ".png", ".webp")):
            (tmp_path / "media").mkdir(exist_ok=True)
            (tmp_path / "media" / f"{number:02d}{name}").write_bytes(make())
    written, left_out = prepare_array_records(a_stream("images", tmp_path / "media"), tmp_path / "out", 2)
    rows = [json.loads(line) for line in (tmp_path / "out" / "verdicts.jsonl").read_text().splitlines()]
    assert len(rows) == written + len(left_out) == len(list((tmp_path / "media").iterdir()))
    source = open_source(a_stream("array_record", tmp_path / "out"))
    assert [source.record(index).id for index in range(written)] == [row["id"] for row in rows if row["verdict"] == "kept"]
