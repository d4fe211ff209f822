"""Encoding again: the same frames at the same times, smaller, with the key frames that were asked for."""

import io

import av
import numpy as np
import pytest
from broken import turned_video
from clips import barcode_video, encoded_image, numbers
from PIL import Image

from tokjax.data import reencode as module
from tokjax.data.decode import decode, frame_times
from tokjax.data.images import decode_image
from tokjax.data.records import BadRecord, Record
from tokjax.data.reencode import Encoding, reencode
from tokjax.data.transforms import resize


def key_frames(media):
    with av.open(io.BytesIO(media)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        order = sorted(range(len(packets)), key=lambda place: packets[place].pts)
        return [place for place, packet in enumerate(order) if packets[packet].is_keyframe]


def everything(record):
    return decode(record, lambda times: range(len(times)))


@pytest.mark.parametrize("container", ["mp4", "avi"])
def test_the_same_frames_at_the_same_times_with_closer_key_frames(container):
    stamps = None if container == "avi" else np.cumsum([1, 1, 1, 4, 1, 9] * 6)
    before = Record("a", "video", barcode_video(36, container=container, stamps=stamps, g="36"), 3)
    after = reencode(before, Encoding(gop=8))
    assert (after.id, after.label) == ("a", 3)
    np.testing.assert_allclose(frame_times(after), frame_times(before), atol=1e-4)
    assert numbers(everything(after)) == list(range(36))
    assert max(np.diff([*key_frames(after.media), 36])) <= 8
    assert np.abs(everything(after).astype(float) - everything(before)).mean() < 6


def test_a_part_is_cut_out_and_made_smaller():
    before = Record("a@0.5-1", "video", barcode_video(60, g="12"), None, 0.5, 1.0)
    after = reencode(before, Encoding(short_side=32, gop=4))
    clip = everything(after)
    assert (after.begin, after.end, clip.shape) == (0.0, float("inf"), (15, 32, 80, 3))
    np.testing.assert_allclose(frame_times(after), np.arange(15) / 30, atol=1e-4)
    expected = resize(everything(before), 32, 80)
    assert np.abs(clip.astype(float) - expected).mean() < 8  # of noise


def test_nothing_is_enlarged_and_odd_longer_sides_become_even():
    media = barcode_video(3)
    assert everything(reencode(Record("a", "video", media), Encoding(short_side=128, gop=4))).shape == (3, 64, 160, 3)
    assert everything(reencode(Record("a", "video", media), Encoding(short_side=30))).shape == (3, 30, 74, 3)  # 75 is odd


def test_a_turned_video_is_stored_upright():
    after = reencode(Record("a", "video", turned_video()), Encoding(gop=2))
    assert everything(after).shape == (6, 160, 64, 3)


def test_a_video_that_changes_its_frame_size_is_refused(monkeypatch):
    real = module.frames_in_order

    def changing(*args):
        for number, (stamp, pixels) in enumerate(real(*args)):
            yield stamp, pixels[number // 2 * 2 :]

    monkeypatch.setattr(module, "frames_in_order", changing)
    with pytest.raises(BadRecord, match="changes its frame size"):
        reencode(Record("a", "video", barcode_video(4)), Encoding(gop=2))


def test_large_images_become_jpeg_and_small_ones_stay():
    small = encoded_image((3, 90, 200), (40, 20))
    assert reencode(Record("a", "image", small), Encoding(short_side=20)).media == small
    large = encoded_image((3, 90, 200), (60, 40))
    media = reencode(Record("a", "image", large), Encoding(short_side=20)).media
    assert Image.open(io.BytesIO(media)).format == "JPEG"
    pixels = decode_image(media)
    assert pixels.shape == (1, 20, 30, 3) and np.abs(pixels.astype(int) - (3, 90, 200)).max() < 4
