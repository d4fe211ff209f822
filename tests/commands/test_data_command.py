"""`tokjax data` and `tokjax prepare` on the command line: what they print, write and refuse."""

import base64
import io
import json
import re

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from tiny_experiment import write_data

from tokjax import cli
from tokjax.data import rates
from tokjax.data.decode import write_image, write_video


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data") / "data")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Frames of one colour each, 48x64, and a text among them."""
    folder = tmp_path_factory.mktemp("films")
    for number in range(3):
        write_video(folder / f"{number}.mp4", [np.full((48, 64, 3), 60 + 40 * number, np.uint8)] * 12, 25)
    (folder / "bad.mp4").write_text("I am no video")
    return folder


def pictures(html):
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in found]


def test_inspect_shows_clips_as_the_model_sees_them(films, tmp_path, capsys):
    sheet = tmp_path / "sheet.html"
    assert cli.main(["data", "inspect", str(films), "--frames", "5", "--resolution", "32", "-o", str(sheet)]) == 0
    out = capsys.readouterr().out
    assert "train / videos" in out and "records: 4\n" in out and "clips [t,h,w,c]: 5x32x32x3\n" in out
    assert "samples that cannot be used: 1 of 4" in out and "bad.mp4 cannot be used: not a readable video" in out
    html = sheet.read_text()
    assert html.startswith("<!doctype html>") and "http" not in html and "bad.mp4" in html
    shown = pictures(html)
    assert [picture.shape for picture in shown] == [(32, 160, 3)] * 3
    assert [round(float(picture.mean()), -1) for picture in shown] == [60, 100, 140]


def test_inspect_takes_the_streams_of_an_experiment(media, request, monkeypatch, capsys):
    monkeypatch.chdir(media)
    experiment = request.config.rootpath / "tests" / "tiny_experiment.py"
    assert cli.main(["data", "inspect", "--config", str(experiment), "--config.data.train.images.batch=3"]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"^\w+ / \w+", out, re.MULTILINE) == ["train / images", "train / videos", "validation / videos"]
    assert "batch: 3\n" in out and "clips [t,h,w,c]: 1x16x16x3\n" in out


def test_what_was_prepared_can_be_inspected_and_measured(films, tmp_path, capsys):
    out = tmp_path / "shards"
    assert (
        cli.main(["prepare", "videos", str(films), "--output", str(out), "--short-side", "32", "--gop", "4", "--workers", "1"])
        == 0
    )
    told = capsys.readouterr().out
    assert "left out bad.mp4: unreadable: not a readable video" in told and "wrote 3 records" in told
    assert json.loads((out / "manifest.json").read_text())["frame_sizes"] == {"42x32": 3}
    numbers = tmp_path / "rates.json"
    command = ["data", "benchmark", str(out), "--frames", "5", "--resolution", "16", "--batch", "2", "--workers", "0"]
    command += ["--batches", "2", "--repeats", "1", "--step-seconds", "0.5", "--json", str(numbers)]
    assert cli.main(command) == 0
    rows = json.loads(numbers.read_text())["rows"]
    bare, loader = rows
    assert (bare["work"], loader["work"], loader["workers"]) == ("bare loop", "loader", 0)
    assert loader["clips_per_second"] == pytest.approx(2 * loader["steps_per_second"])
    assert loader["of_bare"] == pytest.approx(loader["clips_per_second"] / bare["clips_per_second"])
    assert loader["of_need"] == pytest.approx(0.5 * loader["steps_per_second"])
    size = sum(row["bytes"] for row in json.loads((out / "manifest.json").read_text())["shards"]) / 3 / 1e6
    assert loader["megabytes_per_second"] == pytest.approx(loader["clips_per_second"] * size)
    table = capsys.readouterr().out
    assert "| work | workers | clips/s | MB/s | of bare | of need |" in table and "| loader | 0 |" in table


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("inspect", "reads one set of streams: give either DATA or --config"),
        ("inspect x --config y.py", "reads one set of streams: give either DATA or --config"),
        ("inspect nowhere", "no file matches nowhere"),
        ("inspect .", "no images, videos or shards in .; give a folder with media files"),
        ("inspect . --samples 0", "--samples must be at least 1, not 0"),
        ("inspect media --frames 0", "the stream of media needs frames and batch of at least 1"),
        ("inspect media --resolution 0", "the stream of media.resolution must be at least 1, not 0"),
        ("inspect media/*.array_record", "record 0 of media/*.array_record is not a record written by `tokjax prepare`"),
        ("benchmark media --workers 0 --batch 1", "the bare loop cannot read a record of media: not a readable video"),
        ("benchmark . --workers one", "--workers wants whole numbers with commas between them, such as 1,2, not 'one'"),
        ("benchmark . --repeats 0", "--batches and --repeats must be at least 1"),
        ("benchmark --config none.py", "config.data.train has no stream to draw from; add one with tokjax.config.stream"),
    ],
)
def test_what_cannot_work(line, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if "media" in line:
        (tmp_path / "media").mkdir()
        (tmp_path / "media" / "a.mp4").write_text("I am no video")
    if "none.py" in line:
        (tmp_path / "none.py").write_text("from tokjax.config import defaults\n\n\ndef get_config():\n    return defaults()\n")
    if "array_record" in line:
        writer = ArrayRecordWriter("media/a.array_record", "group_size:1")
        writer.write(b"other")
        writer.close()
    if "benchmark media" in line:  # whose loader would find it out first
        monkeypatch.setattr(rates, "_first_batch", lambda *_: 0.0)
    assert cli.main(["data", *line.split()]) == 1
    err = capsys.readouterr().err
    assert err.startswith("tokjax: ") and message in err and len(err.splitlines()) == 1


def test_prepare_images_of_a_list_with_labels(tmp_path, capsys):
    for name in ("a", "b", "c"):
        write_image(tmp_path / f"{name}.png", np.full((9, 9, 3), ord(name), np.uint8))
    (tmp_path / "some.txt").write_text("c.png 5\na.png 2\n")
    command = ["prepare", "images", str(tmp_path), "--table", str(tmp_path / "some.txt"), "--output", str(tmp_path / "out")]
    assert cli.main([*command, "--workers", "1"]) == 0
    assert "wrote 2 records" in capsys.readouterr().out
    from tokjax.data.sources import open_source

    source = open_source({"kind": "array_record", "path": str(tmp_path / "out")})
    assert [(source.record(index).id, source.record(index).label) for index in range(2)] == [("c.png", 5), ("a.png", 2)]
    assert cli.main([*command, "--workers", "0"]) == 1
    assert "--workers must be at least 1, not 0" in capsys.readouterr().err
