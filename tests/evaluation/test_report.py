import base64
import io
import os
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tokjax.evaluation.evaluator import Picture
from tokjax.evaluation.gallery import GAP, MOST_FRAMES, difference
from tokjax.evaluation.report import write_report

VOID = {"meta", "img"}


class Page(HTMLParser):
    """Checks that tags close in order and keeps images and text by tag."""

    def __init__(self, path):
        super().__init__()
        self.open, self.images, self.text, self.attributes = [], [], {}, []
        self.feed(path.read_text())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.attributes += attributes
        if tag == "img":
            self.images.append(dict(attributes))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.text.setdefault(self.open[-1], []).append(data)


def opened(image):
    return Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2])))


def stream(**changes):
    return {
        "clips": 2,
        "frames": 34,
        "psnr": 29.6412,
        "ssim": 0.85217,
        "psnr_per_frame": [30.0, 29.0],
        "codebook": None,
        **changes,
    }


def pictures(frames, side=32):
    rng = np.random.default_rng(frames)
    original = np.kron(rng.integers(0, 256, (frames, 4, 4, 3)), np.ones((1, side // 4, side // 4, 1))).astype(np.uint8)
    return original, np.clip(original + rng.integers(-9, 10, original.shape), 0, 255).astype(np.uint8)


def test_scores_stand_in_the_table(tmp_path):
    book = {"size": 4096, "codes_counted": 1000, "usage": 0.5, "perplexity": 1234.56, "entropy_bits": 10.25, "dead_codes": 2048}
    evaluation = {"streams": {"videos": stream(codebook=book, psnr_at_start=6.5)}, "codebook": book}
    write_report(tmp_path / "report.html", evaluation)
    page = Page(tmp_path / "report.html")
    assert page.text["b"] == ["29.64", "0.8522"]
    assert page.text["td"] == ["videos", "2", "34", "6.5", "50.0%", "1,234.6"]
    assert "psnr at start" in page.text["th"]
    assert any("2,048 never do" in text and "10.25 bits" in text for text in page.text["p"])


def test_sections_are_shown_and_text_is_escaped(tmp_path):
    evaluation = {
        "streams": {"<b>": stream()},
        "codebook": None,
        "model": {
            "name": "<script>alert(1)</script>",
            "levels": (8, 5),
            "quantizer": {"name": "fsq"},
            "parts": dict.fromkeys("abcdefghi", 1),
        },
        "<em>": {"<q>": "<s>"},
        "seed": 7,
    }
    write_report(tmp_path / "report.html", evaluation, [{"step": 1, "<i>": 1.0}], [Picture('"><u>', *pictures(1))])
    page = Page(tmp_path / "report.html")
    assert not {"script", "i", "u", "em", "q", "s"} & page.text.keys()
    assert page.text["title"][0] == page.text["h1"][0] == "Evaluation of <script>alert(1)</script>"
    assert page.text["summary"] == ["model", "parts", "<em>", "run"]
    assert {"quantizer.name", "levels", "seed"} <= set(page.text["dt"])
    assert {"fsq", "8, 5", "7"} <= set(page.text["dd"])


def test_the_page_needs_nothing_else(tmp_path):
    write_report(
        tmp_path / "report.html",
        {"streams": {"v": stream()}},
        [{"step": 1, "loss": 1.0}],
        [Picture("v", *pictures(3)), Picture("i", *pictures(1))],
    )
    page = Page(tmp_path / "report.html")
    links = [value for name, value in page.attributes if name in ("src", "href", "srcset", "data", "action", "xlink:href")]
    assert links and all(link.startswith("data:image/") for link in links)
    assert "link" not in page.text and "@import" not in "".join(page.text["style"]) and "url(" not in "".join(page.text["style"])


def test_curves_of_one_quantity_meet_in_one_plot(tmp_path):
    history = [{"step": 0, "validation/a/psnr": 9.0, "validation/b/psnr": 8.0}]
    history += [
        {"step": s, "loss": 1000.0 / s, "psnr": 10.0 + s, "learning_rate": 0.1, "note": "x", "flag": True} for s in (2, 1, 3)
    ]
    history += [{"step": 3, "loss": 7.0}]  # the same step again after a restart: the later row holds
    write_report(tmp_path / "report.html", {"streams": {"images": stream(psnr_per_frame=[30.0])}}, history)
    page = Page(tmp_path / "report.html")
    assert page.text["h3"] == ["loss ", "psnr", "learning rate"]
    assert page.text["h2"] == ["Training"]
    assert page.text["span"] == ["validation/a/psnr", "validation/b/psnr", "psnr"]
    hovers = page.text["title"]
    assert [text for text in hovers if text.startswith("loss")] == [
        "loss: 1000 at step 1",
        "loss: 500 at step 2",
        "loss: 7 at step 3",
    ]
    assert "validation/b/psnr: 8 at step 0" in hovers


def test_images_are_kept_losslessly(tmp_path):
    original, reconstruction = pictures(1)
    write_report(tmp_path / "report.html", {"streams": {}}, [], [Picture("a", original, reconstruction)])
    shown = [np.asarray(opened(image)) for image in Page(tmp_path / "report.html").images]
    expected = np.minimum(np.abs(original[0].astype(int) - reconstruction[0]) * 4, 255)
    for image, wanted in zip(shown, (original[0], reconstruction[0], expected), strict=True):
        np.testing.assert_array_equal(image, wanted)


def test_videos_move_and_three_frames_stand_still(tmp_path):
    original, reconstruction = pictures(MOST_FRAMES + 6)
    write_report(tmp_path / "report.html", {"streams": {}}, [], [Picture("v", original, reconstruction)])
    page = Page(tmp_path / "report.html")
    moving, *stills = map(opened, page.images)
    assert (moving.format, moving.n_frames, moving.size) == ("WEBP", MOST_FRAMES, (3 * 32 + 2 * GAP, 32))
    for index in (0, MOST_FRAMES - 1):
        moving.seek(index)
        assert np.abs(np.asarray(moving)[:, :32, :3].astype(int) - original[index]).mean() < 12
    for image, index in zip(stills, (0, 35, 69), strict=True):
        assert np.abs(np.asarray(image)[:, :32, :3].astype(int) - original[index]).mean() < 12
        assert np.abs(np.asarray(image)[:, 32 + GAP : 64 + GAP, :3].astype(int) - reconstruction[index]).mean() < 12
    assert f"v (the first {MOST_FRAMES} of 70 frames move)" in page.text["figcaption"]
    assert {"frame 1", "frame 36", "frame 70"} <= set(page.text["small"])


def test_large_pictures_are_shrunk(tmp_path):
    video = np.full((1, 600, 1100, 3), 90, np.uint8)
    write_report(tmp_path / "report.html", {"streams": {}}, [], [Picture("a", video, video)])
    assert {opened(image).size for image in Page(tmp_path / "report.html").images} == {(367, 200)}


def test_difference_saturates_and_has_no_sign():
    a, b = np.array([[[0, 10, 200]]], np.uint8), np.array([[[255, 7, 203]]], np.uint8)
    assert difference(a, b).tolist() == difference(b, a).tolist() == [[[255, 12, 12]]]


def test_nothing_but_scores(tmp_path):
    write_report(tmp_path / "report.html", {"streams": {"images": stream(psnr_per_frame=[30.0])}, "codebook": None}, [], [])
    page = Page(tmp_path / "report.html")
    assert page.text["h1"] == ["Evaluation"]
    assert "h2" not in page.text and not page.images


def test_an_interrupted_write_leaves_the_old_page(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_report(path, {"streams": {"old": stream()}})
    assert os.listdir(tmp_path) == ["report.html"]
    before = path.read_text()

    def fail(source, target):
        raise OSError("disk is gone")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk is gone"):
        write_report(path, {"streams": {"new": stream()}})
    assert path.read_text() == before
