"""Decoding: exactly the chosen frames from every container, upright, in the right colours; damage is named."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from broken import sound_only
from clips import barcode_video, encoded_image, numbers
from PIL import Image

from tokjax.data.decode import _from_key, decode_clip, decode_image, read_image, read_video, write_image, write_video
from tokjax.data.sources import BadRecord, DataError

FILES = {
    "mp4": {"g": "20"},
    "open groups": {"g": "20", "x264-params": "open-gop=1:b-adapt=0"},
    "gradual refresh": {"x264-params": "intra-refresh=1:keyint=20"},
    "mkv": {"container": "matroska", "g": "20"},
    "webm": {"container": "webm", "codec": "libvpx-vp9", "b": "2M", "cpu-used": "5", "g": "20"},
    "avi": {"container": "avi", "g": "20"},  # H.264 with B frames, for which AVI stores no order of showing
    "avi mpeg4": {"container": "avi", "codec": "mpeg4", "bf": "2", "g": "12"},
}


@pytest.mark.parametrize("name", FILES)
def test_chosen_frames_are_exact(name):
    media = barcode_video(60, **FILES[name])
    rng = np.random.default_rng(1)
    assert numbers(decode_clip(media, lambda times: range(len(times)))) == list(range(60))
    for _ in range(6):
        wanted = np.sort(rng.integers(0, 60, 5))
        assert numbers(decode_clip(media, lambda times, wanted=wanted: wanted)) == wanted.tolist()


def test_decoding_starts_at_the_key_frame_before_the_first_chosen_one():
    packets = [SimpleNamespace(pts=pts, is_keyframe=pts % 4 == 0) for pts in (0, 3, 1, 2, 4, 7, 5, 6, 8)]
    assert [_from_key(packets, stamp)[0].pts for stamp in range(9)] == [0, 0, 0, 0, 4, 4, 4, 4, 8]


def test_times_of_a_variable_frame_rate():
    stamps = np.cumsum(np.random.default_rng(2).integers(1, 6, 40))
    seen = []
    clip = decode_clip(barcode_video(40, stamps=stamps, g="10"), lambda times: seen.append(times) or [3, 25, 25, 39])
    np.testing.assert_allclose(seen[0], (stamps - stamps[0]) / 30, atol=1e-9)
    assert numbers(clip) == [3, 25, 25, 39]


def test_a_phones_upright_video_is_turned(tmp_path):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:, :32] = (200, 30, 30)
    write_video(tmp_path / "a.mp4", [picture] * 2, 24)
    media = (tmp_path / "a.mp4").read_bytes()

    def matrix(*rows):
        return np.array(rows, ">i4").tobytes()

    one, plain = 1 << 16, (0, 0, 1 << 30)
    start = media.index(b"tkhd")
    upright = matrix(one, 0, 0, 0, one, 0, *plain)
    turned = matrix(0, one, 0, -one, 0, 0, *plain)  # a quarter turn clockwise: left goes up
    where = media.index(upright, start)
    clip = decode_clip(media[:where] + turned + media[where + len(turned) :], lambda times: [0])
    assert clip.shape == (1, 64, 48, 3)
    assert clip[0, :30, :, 0].min() > 180 and clip[0, 34:, :, 0].max() < 20


def corrupted(media):
    middle = media.index(b"mdat") + 4
    return media[: middle + 900] + b"\xa5" * 400 + media[middle + 1300 :]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda media: b"I am a text, whatever my name says.\n" * 50, "not a readable video: Invalid data"),
        (lambda media: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n", "not a readable video"),
        (lambda media: b"", "not a readable video"),
        (lambda media: media[: len(media) // 2], "not a readable video"),
        (lambda media: barcode_video(0), "no video stream|no frames|not a readable"),
        (corrupted, "cannot be decoded|not a readable video"),
    ],
)
def test_damaged_videos_are_refused_with_a_reason(damage, reason):
    with pytest.raises(BadRecord, match=reason):
        decode_clip(damage(barcode_video(30)), lambda times: range(len(times)))


def test_sound_without_pictures_is_refused():
    with pytest.raises(BadRecord, match="no video stream"):
        decode_clip(sound_only(), lambda times: [0])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "LA", "I;16"])
def test_images_of_every_mode_become_rgb(mode):
    buffer = io.BytesIO()
    value = 255 if mode == "1" else 200
    wide = Image.fromarray(np.full((3, 5), value * 256 + 7, np.uint16))
    image = wide if mode == "I;16" else Image.new("L", (5, 3), value).convert(mode)
    image.save(buffer, "PNG")
    pixels = decode_image(buffer.getvalue())
    assert pixels.shape == (1, 3, 5, 3) and pixels.dtype == np.uint8 and (pixels == value).all()


def test_exif_orientation_is_applied():
    image = Image.new("RGB", (6, 4))
    image.paste((255, 255, 255), (0, 0, 2, 4))
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6  # to be turned clockwise: left goes up
    image.save(buffer, "PNG", exif=exif)
    pixels = decode_image(buffer.getvalue())
    assert pixels.shape == (1, 6, 4, 3) and pixels[0, :2].min() == 255 and pixels[0, 2:].max() == 0


@pytest.mark.parametrize("media", [b"", b"text", encoded_image((1, 2, 3), (64, 64), "JPEG")[:-40]])
def test_damaged_images_are_refused(media):
    with pytest.raises(BadRecord, match="not a readable image"):
        decode_image(media)


@pytest.mark.parametrize(("height", "width"), [(32, 48), (31, 48), (33, 47)])
def test_written_video_has_the_same_size_colours_and_rate(tmp_path, height, width):
    colours = [(200, 50, 20), (20, 180, 60), (30, 60, 220), (128, 128, 128)]
    frames = [np.full((height, width, 3), colour, np.uint8) for colour in colours]
    write_video(tmp_path / "a.mp4", iter(frames), 30000 / 1001)
    again, fps = read_video(tmp_path / "a.mp4")
    assert fps == pytest.approx(30000 / 1001, abs=1e-9)
    np.testing.assert_allclose(np.stack(list(again)).astype(int), np.stack(frames).astype(int), atol=4)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_video_that_fails_half_way_leaves_the_old_file(tmp_path):
    def frames():
        yield np.zeros((16, 16, 3), np.uint8)
        raise RuntimeError("the model failed")

    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(RuntimeError, match="the model failed"):
        write_video(tmp_path / "a.mp4", frames(), 24)
    assert (tmp_path / "a.mp4").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_files_that_cannot_be_read_or_written_are_named(tmp_path):
    (tmp_path / "a.mp4").write_text("text")
    for read in (read_video, read_image):
        with pytest.raises(DataError, match=r"a\.mp4"):
            read(tmp_path / "a.mp4")
    with pytest.raises(DataError, match=r"b\.gif"):
        write_video(tmp_path / "b.gif", [np.zeros((2, 2, 3), np.uint8)], 1)
    with pytest.raises(DataError, match="no frames"):
        write_video(tmp_path / "b.mp4", [], 1)
    picture = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    write_image(tmp_path / "c.png", picture)
    np.testing.assert_array_equal(read_image(tmp_path / "c.png")[0], picture)
