"""tokjax evaluate by a protocol, on somebody else's reconstructions, and as a table of several; and what is refused."""

import json
import os
from functools import partial

import command_line
import numpy as np
import pytest
from tiny_tokenizer import write_tiny

from tokjax.data.decode import write_image

done, refused = (partial(which, "evaluate") for which in (command_line.done, command_line.refused))
PRESET = "--protocol imagenet-rfid-50k --set resolution=16 --metrics psnr,ssim"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, three images, and somebody's idea of them."""
    folder = tmp_path_factory.mktemp("evaluated")
    write_tiny(folder, "fsq")
    rng = np.random.default_rng(0)
    for name in ("images", "theirs"):
        (folder / name).mkdir()
    for number in range(3):
        image = np.kron(rng.integers(0, 256, (4, 5, 3)), np.ones((4, 4, 1))).astype(np.uint8)
        write_image(folder / "images" / f"{number}.png", image)
        write_image(folder / "theirs" / f"{number}.png", image // 2)
    return folder


@pytest.fixture
def place(folder, tmp_path, monkeypatch):
    (tmp_path / "in").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cached"))
    return tmp_path


def test_a_model_and_a_folder_in_one_table(capsys, place):
    out = done(capsys, f"in/fsq_0 --data in/images {PRESET} --output ours").out
    assert "note: images: 3 samples, fewer than the 50,000 of imagenet-rfid-50k: not its numbers" in out
    assert sorted(os.listdir("ours")) == ["evaluation.json", "report.html"]
    report = (place / "ours" / "report.html").read_text()
    assert "fewer than the 50,000" in report and "<h2>Latents</h2>" in report and "<h2>Codebook</h2>" in report
    done(capsys, f"in/theirs --reference in/images {PRESET} --output theirs")
    ours, theirs = (json.loads((place / name / "evaluation.json").read_text()) for name in ("ours", "theirs"))
    assert ours["streams"]["images"]["sample_ids"] == theirs["streams"]["images"]["sample_ids"]
    assert ours["protocol"]["overrides"] == theirs["protocol"]["overrides"] == {"resolution": 16, "metrics": ["psnr", "ssim"]}
    out = done(capsys, "--compare ours theirs --output table").out
    lines = out.splitlines()
    assert lines[0].startswith("| model | bits/pixel | compression |") and "PSNR ↑" in lines[0] and "[" not in lines[0]
    assert f"{theirs['streams']['images']['psnr']:.2f}" in lines[3] and lines[3].startswith("| theirs | – |")
    assert sorted(path.name for path in place.glob("table.*")) == ["table.csv", "table.html", "table.md", "table.tex"]


def test_reconstructions_as_they_are(capsys, place):
    out = done(capsys, "in/theirs --reference in/images --output scores").out
    assert out.startswith("images: PSNR ") and "SSIM" in out and "over 3 frames of 3 clips" in out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "say what to evaluate"),
        ("in/fsq_0 --protocol vidtok", "a protocol needs data"),
        ("in/fsq_0 --data in/images --protocol vidtoc", "there is no protocol 'vidtoc'; did you mean 'vidtok'"),
        ("in/fsq_0 --data in/images --metrics psnr", "--set, --metrics and --weights belong to a protocol"),
        (
            "in/fsq_0 --data in/images --protocol imagenet-rfid-50k",
            "lpips_vgg16 needs the weights of vgg16: give their file with --weights",
        ),
        (
            f"in/fsq_0 --data in/images {PRESET} --weights i3d.npz",
            "there is no file of weights i3d.npz; make it with `tokjax convert",
        ),
        (f"in/fsq_0 --data none {PRESET}", "the folder none does not exist"),
        (f"in/fsq_0 --data in/images {PRESET} --batch 0", "--batch must be at least 1"),
        ("in/theirs --reference in/images --data in/images", "--data and --step belong to a model"),
        ("in/images --reference in/fsq_0 --output scores", "no images below in/fsq_0"),
        ("--compare in/images", "in/images holds no evaluation.json"),
        ("in/fsq_0 --compare in/images", "--compare takes folders of finished evaluations"),
        ("--compare in/images --metrics psnr", "--compare takes folders of finished evaluations"),
        ("--compare in/images --step 0", "--compare takes folders of finished evaluations"),
    ],
)
def test_what_is_refused(capsys, place, line, message):
    assert message in refused(capsys, line)
