"""What users get wrong: exit code 1, one clear line on stderr, and nothing half-written."""

import io
import os
import shutil
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from tiny_tokenizer import write_tiny

from tokjax import cli
from tokjax.data.decode import write_image, write_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, another one, a video, and the tokens of that video."""
    folder = tmp_path_factory.mktemp("inputs")
    write_tiny(folder, "fsq"), write_tiny(folder, "fsq", seed=1), write_tiny(folder, "kl")
    frames = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    write_video(folder / "in.mp4", frames, 8)
    assert cli.main(["encode", f"{folder}/fsq_0", f"{folder}/in.mp4", "-o", f"{folder}/tokens.npz"]) == 0
    return folder


@pytest.fixture
def place(folder, tmp_path, monkeypatch):
    """An empty working directory with `inputs` in it; the test fails where anything else was left in it."""
    (tmp_path / "inputs").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys, line, added=()):
    """The one line on stderr of a command that ends with code 1; it adds no other files to the working directory."""
    before = _listing()
    capsys.readouterr()
    assert cli.main(line.split()) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("tokjax: ") and err.count("\n") == 1, err
    assert sorted(_listing() - before) == sorted(added)
    return err


def _listing():
    return {os.path.join(where, name) for where, _, names in os.walk(".", followlinks=True) for name in names}


def an_experiment(kind="images", path="images", **changes):
    """Writes `one.py`: the tiny tokenizer, trained on one stream with these keys."""
    Path("one.py").write_text(
        "from tiny_tokenizer import tiny_config\nfrom tokjax.config import stream\n\n\n"
        "def get_config():\n    config = tiny_config()\n"
        f"    config.data.train = {{'clips': stream({kind!r}, {path!r}, **{changes!r})}}\n    return config\n"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train --config experiments/none.py --workdir run", "no experiment file experiments/none.py; give a Python file"),
        ("inspect --config inputs/in.mp4", "no experiment file inputs/in.mp4; give a Python file"),
        ("inspect --config one.py:big", "one.py has no variant 'big'; it has: none"),
        ("train --config one.py --workdir run --config.optimizer.learing_rate=1", "did you mean 'learning_rate'?"),
        (
            "train --config one.py --workdir run --config.trainin.steps=1",
            "unknown key 'trainin' in --config.trainin.steps; did you mean 'training'?",
        ),
        ("inspect --config one.py --config.seed", "cannot read the argument '--config.seed'; single values are set by"),
        (
            "inspect --config one.py --config.model=3",
            "config.model is a section, not a value; its keys are: architecture, blocks",
        ),
        ("inspect --config one.py --config.training.steps=many", "wants a value of type int, as in 1000; it got 'many'"),
        ("inspect --config one.py --config.model.dtype=float16", "config.model.dtype must be one of float32, bfloat16"),
        ("inspect --config one.py --config.model.time_factor=8", "time_factor is 8, but time is halved at levels (0,)"),
        ("inspect --config one.py --frames 0", "--frames, --resolution and --batch must be at least 1"),
    ],
)
def test_experiments_and_single_values(capsys, place, line, message):
    an_experiment()
    assert message in refused(capsys, line)


def test_an_unknown_variant_names_the_nearest(capsys, place, request):
    (place / "vidtok.py").symlink_to(request.config.rootpath / "experiments" / "vidtok.py")
    err = refused(capsys, "inspect --config vidtok.py:kl_causal_488_4ch")
    assert "did you mean 'kl_causal_488_4chn'?; it has: kl_causal_488_4chn, " in err


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ({"kind": "images", "path": "nowhere"}, "the data folder nowhere does not exist; check the stream's path"),
        ({"kind": "images", "path": "texts"}, "no usable file below texts; looked for jpg jpeg png webp"),
        ({"kind": "videos", "path": "texts", "table": "texts/a.csv"}, "a.csv has no column 'videos'; it has 'name'"),
        ({"kind": "videos", "path": "texts", "table": "texts/b.csv"}, "the table texts/b.csv does not exist"),
        ({"kind": "array_record", "path": "texts/*.array_record"}, "no file matches texts/*.array_record"),
    ],
)
def test_data_that_is_not_there(capsys, place, stream, message):
    (place / "texts").mkdir()
    (place / "texts" / "a.csv").write_text("name\nx.mp4\n")
    an_experiment(**stream)
    assert message in refused(capsys, "train --config one.py --workdir run", added=["./run/ended.json", "./run/lock"])


@pytest.mark.parametrize("command", ["reconstruct", "encode"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text.mp4", "text.mp4: Invalid data found"),
        ("text.png", "text.png: not a readable image"),
        ("nothing.mp4", "nothing.mp4: the file is empty"),
        ("sound.mp4", "sound.mp4: has no video stream"),
        ("empty.mp4", "empty.mp4"),
        ("short.mp4", "short.mp4: Invalid data found"),
        ("absent.mp4", "No such file or directory: 'absent.mp4'"),
        (".", "Is a directory"),
    ],
)
def test_media_that_cannot_be_read(capsys, place, command, name, message):
    for path in ("text.mp4", "text.png"):
        (place / path).write_text("this is no video\n" * 40)
    (place / "nothing.mp4").touch()
    (place / "short.mp4").write_bytes((place / "inputs" / "in.mp4").read_bytes()[:900])
    _sound(place / "sound.mp4")
    _no_frames(place / "empty.mp4")
    output = "out.mp4" if command == "reconstruct" else "out.npz"
    assert message in refused(capsys, f"{command} inputs/fsq_0 {name} -o {output}")


def _sound(path):
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        file.mux(stream.encode(frame))
        file.mux(stream.encode())


def _no_frames(path):
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        file.start_encoding()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("reconstruct nothing inputs/in.mp4 -o out.mp4", "nothing is neither an export nor a training workdir: it has no config"),
        ("reconstruct inputs/in.mp4 inputs/in.mp4 -o out.mp4", "inputs/in.mp4 is neither an export nor a training workdir"),
        ("evaluate . --data inputs", ". is neither an export nor a training workdir"),
        ("export inputs/fsq_0 --output inputs/kl_0", "inputs/kl_0 exists already; give a directory that does not"),
        ("evaluate inputs/fsq_0 --data inputs/kl_0", "no images or videos in inputs/kl_0; give a folder with media files"),
        ("evaluate inputs/fsq_0 --step 3 --data inputs", "there is no checkpoint of step 3"),
        ("evaluate inputs/fsq_0 --data broken --output scores", "no record of broken can be used, the last is a.png"),
        ("reconstruct inputs/fsq_0 inputs/in.mp4 -o out.gif", "cannot write out.gif: give a name that ends in .mp4, .mov"),
        (
            "reconstruct inputs/fsq_0 inputs/in.mp4 -o out.png",
            "cannot write out.png: an image holds one frame and this is a video",
        ),
        ("encode inputs/fsq_0 inputs/in.mp4 -o out.mp4", "cannot write out.mp4: give a name that ends in .npz"),
        ("encode inputs/fsq_0 inputs/in.mp4 -o far/out.npz", "cannot write far/out.npz: the folder far does not exist"),
        ("decode inputs/fsq_0 inputs/tokens.npz -o out.txt", "cannot write out.txt: give a name that ends in"),
        ("decode inputs/fsq_1 inputs/tokens.npz -o out.mp4", "the tokens in inputs/tokens.npz were made by another model"),
        ("decode inputs/kl_0 inputs/tokens.npz -o out.mp4", "the tokens in inputs/tokens.npz were made by another model"),
        ("decode inputs/fsq_0 inputs/in.mp4 -o out.mp4", "inputs/in.mp4 is not a token file written by `tokjax encode`"),
        ("decode inputs/fsq_0 absent.npz -o out.mp4", "No such file or directory: 'absent.npz'"),
        (
            "encode inputs/fsq_0 inputs/in.mp4 -o out.npz --chunk-frames 3",
            "chunk_frames is 3, but must be a positive multiple of",
        ),
        ("decode inputs/fsq_0 inputs/tokens.npz -o out.mp4 --tile 9", "tiles of 9x9 pixels do not suit this model"),
    ],
)
def test_models_outputs_and_tokens(capsys, place, line, message):
    (place / "broken").mkdir()
    (place / "broken" / "a.png").write_text("no image")
    assert message in refused(capsys, line)


@pytest.mark.parametrize(
    "line",
    [
        "reconstruct inputs/fsq_0 inputs/in.mp4 -o inputs/in.mp4/below/out.mp4",
        "encode inputs/fsq_0 inputs/in.mp4 -o inputs/in.mp4/below/out.npz",
        "export inputs/fsq_0 --output inputs/in.mp4/below",
        "evaluate inputs/fsq_0 --data inputs --output inputs/in.mp4/below",
    ],
)
def test_a_place_that_takes_no_files(capsys, place, line):
    """Below a file nobody can write, root included."""
    assert "inputs/in.mp4" in refused(capsys, line)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="permissions do not bind root")
def test_a_read_only_folder(capsys, place):
    (place / "closed").mkdir(mode=0o500)
    for line in ("reconstruct inputs/fsq_0 inputs/in.mp4 -o closed/out.mp4", "export inputs/fsq_0 --output closed/model"):
        assert "Permission denied" in refused(capsys, line)


def _tokens(**changes):
    content = dict(np.load("inputs/tokens.npz")) | changes
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: value for name, value in content.items() if value is not None})
    return buffer.getvalue()


def test_damaged_token_files(capsys, place):
    """Cut anywhere, any byte turned over, or without one of its entries."""
    whole = (place / "inputs" / "tokens.npz").read_bytes()
    damaged = {f"cut at {size}": whole[:size] for size in range(0, len(whole), 211)}
    damaged |= {f"without {name}": _tokens(**{name: None}) for name in ("frames", "model", "parts", "indices_000000")}
    for name, content in damaged.items():
        (place / "bad.npz").write_bytes(content)
        err = refused(capsys, "decode inputs/fsq_0 bad.npz -o out.mp4")
        assert "bad.npz is not a token file written by `tokjax encode`, or it is damaged" in err, name


def test_tokens_that_are_no_codes_of_the_model(capsys, place):
    """It has codes 0..19."""
    with np.load("inputs/tokens.npz") as file:
        codes = file["indices_000000"]
    codes[-1, 0, 0] = 20
    (place / "bad.npz").write_bytes(_tokens(indices_000000=codes))
    assert "indices must lie in 0..19; these reach from" in refused(capsys, "decode inputs/fsq_0 bad.npz -o out.mp4")
    codes[-1, 0, 0] = 19
    (place / "good.npz").write_bytes(_tokens(indices_000000=codes))
    assert cli.main(["decode", "inputs/fsq_0", "good.npz", "-o", "out.mp4"]) == 0


def test_a_turned_byte_is_found_or_does_not_matter(capsys, place):
    from tokjax.conversion.package import load
    from tokjax.conversion.token_files import TokenFileError, read_tokens

    whole, tokenizer = bytearray((place / "inputs" / "tokens.npz").read_bytes()), load("inputs/fsq_0")
    (header, parts), found = read_tokens(place / "inputs" / "tokens.npz", tokenizer), 0
    (expected,) = parts
    for position in range(0, len(whole), 5):
        content = bytearray(whole)
        content[position] ^= 0xFF
        (place / "bad.npz").write_bytes(content)
        try:
            other, parts = read_tokens(place / "bad.npz", tokenizer)
            codes = np.concatenate(list(parts))
        except TokenFileError:
            found += 1
        else:
            np.testing.assert_array_equal(codes, expected)
            assert other == header
    assert found > len(whole) // 5 / 3


@pytest.mark.parametrize("kind", ["turned", "cut", "removed", "config", "config of another kind", "no checkpoints"])
def test_damaged_exports(capsys, place, folder, kind):
    shutil.copytree(folder / "fsq_0", place / "model")
    largest = max((path for path in (place / "model").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    if kind == "turned":
        largest.write_bytes(content)
    elif kind == "cut":
        largest.write_bytes(content[:-7])
    elif kind == "removed":
        largest.unlink()
    elif kind == "config":
        (place / "model" / "config.json").write_text('{"model": ')
    elif kind == "config of another kind":
        (place / "model" / "config.json").write_text("[1, 2]")
    else:
        shutil.rmtree(place / "model" / "checkpoints")
    messages = {
        "turned": "holds other bytes than were written",
        "cut": "bytes were written",
        "removed": f"{largest.name} is missing",
    }
    messages |= {"cut": "bytes, but", "no checkpoints": "there is no checkpoint in"}
    err = refused(capsys, "reconstruct model inputs/in.mp4 -o out.mp4")
    assert messages.get(kind, "config.json is damaged or of another version of tokjax: this is no configuration") in err


def test_the_commands_of_this_file_work_when_nothing_is_wrong(capsys, place):
    write_image(place / "a.png", np.zeros((7, 9, 3), np.uint8))
    assert cli.main(["reconstruct", "inputs/fsq_0", "a.png", "-o", "b.png"]) == 0
    assert cli.main(["decode", "inputs/fsq_0", "inputs/tokens.npz", "-o", "out.mp4"]) == 0
    assert capsys.readouterr().out == "wrote b.png\nwrote out.mp4\n"
