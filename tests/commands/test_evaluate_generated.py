"""tokjax evaluate --generated: samples as `tokjax generate` writes them, a table of several, and what is refused."""

import json
import os
from functools import partial

import command_line
import numpy as np
import pytest
from evaluation.simple_networks import use_simple_networks
from random_networks import write_network

from tokjax import cli
from tokjax.data.decode import write_image, write_video
from tokjax.evaluation import networks
from tokjax.generation.album import write_album

done = partial(command_line.done, "evaluate")

ADM = "--protocol adm-50k --set resolution=16"


def picture(rng):
    return np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((4, 4, 1))).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two models made, and references; videos too."""
    folder, rng = tmp_path_factory.mktemp("generated"), np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir()
        write_album(folder / name, [picture(rng)[None] for _ in range(6)], [-1] * 6, {"seed": "1", "model": name}, 8)
    for name in ("references", "small", "both", "broken", "clips", "films"):
        (folder / name).mkdir()
    for number in range(7):
        write_image(folder / "references" / f"{number}.png", picture(rng))
    for name, size in (("small", 8), ("both", 16), ("broken", 16)):
        write_image(folder / name / "0.png", picture(rng)[:size, :size])
    (folder / "broken" / "1.png").write_bytes(b"nothing")
    write_video(folder / "both" / "1.mp4", [picture(rng)] * 2, 8)
    for name in ("clips", "films"):
        for number in range(2):
            write_video(folder / name / f"{number}.mp4", [picture(rng) for _ in range(9)], 8)
    return folder


@pytest.fixture
def place(folder, tmp_path, monkeypatch):
    (tmp_path / "in").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cached"))
    weights = use_simple_networks(monkeypatch)
    monkeypatch.setattr(networks, "open_all", lambda paths: weights)
    return tmp_path


def test_two_models_in_one_table(capsys, place):
    out = done(capsys, f"--generated in/a --reference in/references {ADM} --output a").out
    assert out.startswith("images: FID (tf1) ") and "precision" in out and "over 6 frames of 6 clips" in out
    assert "note: images: 6 samples, fewer than the 50,000 of adm-50k: not its numbers" in out
    assert sorted(os.listdir("a")) == ["evaluation.json", "report.html"]
    result = json.loads((place / "a" / "evaluation.json").read_text())
    assert result["model"]["made"] == {"seed": "1", "model": "a"} and result["streams"]["images"]["clips"] == 6
    report = (place / "a" / "report.html").read_text()
    assert report.count('src="data:image/png') == 6 and "<th>precision</th>" in report and "PSNR" not in report
    (kept,) = (place / "cached" / "tokjax").iterdir()
    done(capsys, f"--generated in/b --reference {kept} {ADM} --output b")
    again = json.loads((place / "b" / "evaluation.json").read_text())
    assert again["data"]["fingerprint"] == result["data"]["fingerprint"]
    lines = done(capsys, "--compare a b --output table").out.splitlines()
    assert lines[0] == "| model | FID (tf1) ↓ | IS ↑ | precision ↑ | recall ↑ |"
    for line, one in zip(lines[2:4], (result, again), strict=True):
        assert f"{one['streams']['images']['fid_tf1']['value']:.2f}" in line


def test_videos(capsys, place):
    out = done(capsys, "--generated in/clips --reference in/films --protocol ucf-2048 --set frames=9 --set resolution=16").out
    assert (place / "in" / "clips" / "evaluation" / "report.html").is_file()
    assert out.startswith("videos: FVD (videogpt) ") and "over 18 frames of 2 clips" in out
    assert "note: references: 2 samples, fewer than the 2,048 of ucf-2048" in out


@pytest.mark.slow
def test_a_network_of_random_weights(capsys, place, monkeypatch):
    """From its file, without stand-ins."""
    monkeypatch.undo()
    monkeypatch.chdir(place)
    weights = write_network("inception", place)
    done(capsys, f"--generated in/a --reference in/references {ADM} --weights {weights} --cache cache --batch 7 --output a")
    stream = json.loads((place / "a" / "evaluation.json").read_text())["streams"]["images"]
    assert stream["fid_tf1"]["value"] > 0 and stream["inception_score"]["value"] >= 1
    assert 0 <= stream["precision"]["value"] <= 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--generated in/a", "samples are compared with references: name their folder, or the file"),
        ("--generated in/a --reference in/references", "of samples there are adm-50k, ucf-2048, k600-2048"),
        (f"--generated none --reference in/references {ADM}", "the folder of samples none does not exist"),
        (f"--generated in/a --reference none {ADM}", "the reference none does not exist"),
        (f"in/a --generated in/a --reference in/references {ADM}", "--generated names the samples; a model"),
        ("--generated in/a --reference in/references --protocol vidtok", "vidtok is a protocol of reconstruction"),
        (f"in/a --reference in/references {ADM}", "adm-50k is a protocol of generation; of reconstruction there are"),
        (f"--generated in/a --reference in/references {ADM} --metrics psnr", "psnr compares pairs"),
        (f"--generated in/both --reference in/references {ADM}", "holds both images and videos (0.png and 1.mp4)"),
        (f"--generated in/small --reference in/references {ADM}", "0.png is 8 x 8, smaller than the 16 x 16 of adm-50k"),
        (f"--generated in/broken --reference in/references {ADM}", "1.png: not a readable image"),
        (f"--generated in/clips --reference in/references {ADM}", "holds videos, as 0.mp4, but the protocol is of images"),
        (f"--generated in/a --reference in/clips {ADM}", "no images below in/clips"),
        (f"--generated in/a --reference in/a/grid.png {ADM}", "grid.png is no file of statistics that tokjax wrote"),
        ("--generated in/clips --reference in/films --protocol ucf-2048 --set resolution=16", "has 9 frames, fewer than the 16"),
    ],
)
def test_what_is_refused(capsys, place, line, message):
    assert cli.main(["evaluate", *line.split(), "--output", "out"]) == 1
    out, err = capsys.readouterr()
    assert message in err and out == "" and err.startswith("tokjax: ") and err.count("\n") == 1, err
