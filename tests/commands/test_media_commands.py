"""reconstruct, encode, decode, export, inspect and evaluate on a tiny tokenizer, as a user types them."""

import json

import numpy as np
import pytest
from tiny_experiment import write_data
from tiny_tokenizer import tiny_tokenizer, write_tiny

import tokjax
from tokjax import cli
from tokjax.conversion.media import Media
from tokjax.data.decode import write_image, write_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model(folder):
    return write_tiny(folder, "kl")


@pytest.fixture(scope="module")
def codes_model(folder):
    return write_tiny(folder, "fsq")


@pytest.fixture(params=["model", "codes_model"])
def each_model(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def pictures(frames, height, width):
    y, x = np.mgrid[:height, :width]
    return [np.stack([x * 9 + 5 * t, y * 9 + x, y * 5 + 9 * t], -1).astype(np.uint8) for t in range(frames)]


def a_video(path, frames, height=15, width=17):
    write_video(path, pictures(frames, height, width), 12)
    return path


def content(path):
    media = Media(path)
    return np.stack(list(media)), media.frame_rate


def tokjax_ok(capsys, *argv):
    """stdout of a command that must succeed without a word on stderr."""
    capsys.readouterr()
    code = cli.main([str(word) for word in argv])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 16, 20), (2, 15, 17), (18, 15, 17)], ids=str)
def test_reconstruct_keeps_length_size_and_rate(capsys, tmp_path, model, frames, height, width):
    source, output = a_video(tmp_path / "in.mp4", frames, height, width), tmp_path / "out.mp4"
    assert tokjax_ok(capsys, "reconstruct", model, source, "-o", output) == f"wrote {output}\n"
    again, rate = content(output)
    assert (again.shape, rate) == ((frames, height, width, 3), 12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_reconstruct_side_by_side(capsys, tmp_path, model):
    """Compared through a lossless image: the same pixels as the library gives."""
    write_image(tmp_path / "in.png", pictures(1, 13, 19)[0])
    tokjax_ok(capsys, "reconstruct", model, tmp_path / "in.png", "-o", tmp_path / "out.png", "--side-by-side")
    before, _ = content(tmp_path / "in.png")
    after, _ = content(tmp_path / "out.png")
    np.testing.assert_array_equal(after[:, :, :19], before)
    np.testing.assert_array_equal(after[:, :, 19:], tokjax.load(model).reconstruct(before[None])[0])


@pytest.mark.parametrize("frames", [1, 7])
def test_encode_then_decode_is_reconstruct(capsys, tmp_path, each_model, frames):
    model = each_model
    source, tokens = a_video(tmp_path / "in.mp4", frames), tmp_path / "tokens.npz"
    out = tokjax_ok(capsys, "encode", model, source, "-o", tokens)
    tokjax_ok(capsys, "decode", model, tokens, "-o", tmp_path / "decoded.mp4")
    tokjax_ok(capsys, "reconstruct", model, source, "-o", tmp_path / "again.mp4")
    assert content(tmp_path / "decoded.mp4")[0].shape == (frames, 15, 17, 3)
    assert (tmp_path / "decoded.mp4").read_bytes() == (tmp_path / "again.mp4").read_bytes()
    saved, encoded = np.load(tokens), tokjax.load(model).encode(content(source)[0][None])
    name = "latents" if encoded.indices is None else "indices"
    expected, found = getattr(encoded, name)[0], np.concatenate([saved[one] for one in saved.files if one.startswith(name)])
    np.testing.assert_allclose(found, expected, atol=1e-5 if name == "latents" else 0)
    kind = "latent values" if name == "latents" else "codes"
    assert out == f"wrote {tokens}: {frames} frames of 17x15 as {expected.size:,} {kind}\n"


@pytest.mark.slow
def test_chunks_and_tiles_are_those_of_the_library(capsys, tmp_path, codes_model):
    source, tokens = a_video(tmp_path / "in.mkv", 9, 24, 20), tmp_path / "tokens.npz"
    tokjax_ok(capsys, "encode", codes_model, source, "-o", tokens, "--chunk-frames", 4, "--tile", 16)
    tokjax_ok(capsys, "decode", codes_model, tokens, "-o", tmp_path / "out.mp4", "--tile", 8)
    encoded = tokjax.load(codes_model).encode(content(source)[0][None], tile=(16, 16))
    np.testing.assert_array_equal(np.load(tokens)["indices_000000"], encoded.indices[0])
    assert content(tmp_path / "out.mp4")[0].shape == (9, 24, 20, 3)


def test_an_image_through_tokens(capsys, tmp_path, codes_model):
    model = codes_model
    write_image(tmp_path / "in.png", pictures(1, 13, 19)[0])
    tokjax_ok(capsys, "encode", model, tmp_path / "in.png", "-o", tmp_path / "image.npz")
    tokjax_ok(capsys, "decode", model, tmp_path / "image.npz", "-o", tmp_path / "out.png")
    expected = tokjax.load(model).reconstruct(content(tmp_path / "in.png")[0][None])[0]
    np.testing.assert_array_equal(content(tmp_path / "out.png")[0], expected)


def test_export_of_an_export_holds_the_same_weights(capsys, tmp_path, model):
    output = tmp_path / "deep" / "copy"
    assert str(output) in tokjax_ok(capsys, "export", model, "--output", output)
    video = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8, 3), np.uint8)
    np.testing.assert_array_equal(tokjax.load(output).encode(video).latents, tokjax.load(model).encode(video).latents)
    assert [path.name for path in output.parent.iterdir()] == ["copy"]


def test_evaluate_writes_json_and_report(capsys, tmp_path, each_model, data):
    model = each_model
    out = tokjax_ok(capsys, "evaluate", model, "--data", data, "--output", tmp_path / "scores")
    assert sorted(path.name for path in (tmp_path / "scores").iterdir()) == ["evaluation.json", "report.html"]
    result = json.loads((tmp_path / "scores" / "evaluation.json").read_text())
    assert result.keys() == {"streams", "codebook", "protocol", "model", "seed", "versions", "hardware"}
    images, videos = result["streams"]["images"], result["streams"]["videos"]
    assert (images["clips"], images["frames"], videos["clips"], videos["frames"]) == (12, 12, 6, 18)
    assert len(videos["psnr_per_frame"]) == 3 and videos["pixel_values_per_latent_value"] == 3 * 16 * 16 * 3 / (2 * 8 * 8 * 2)
    assert videos["psnr"] == pytest.approx(np.mean(videos["psnr_per_frame"]))
    assert (result["codebook"] or {}).get("size") == (20 if model.name.startswith("fsq") else None)
    assert result["model"]["step"] == 7 and result["versions"]["tokjax"] == tokjax.__version__
    assert f"PSNR {videos['psnr']:.2f} dB" in out
    report = (tmp_path / "scores" / "report.html").read_text()
    assert f"{videos['psnr']:.2f}" in report and "<html" in report


def test_evaluate_scores_what_the_library_reconstructs(capsys, tmp_path, model):
    """PSNR in float64 of images that need no resizing, the mean over files."""
    (tmp_path / "images").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    for number, image in enumerate(images):
        write_image(tmp_path / "images" / f"{number}.png", image)
    tokjax_ok(capsys, "evaluate", model, "--data", tmp_path / "images", "--output", tmp_path)
    found = json.loads((tmp_path / "evaluation.json").read_text())["streams"]
    assert found.keys() == {"images"} and found["images"]["clips"] == 3
    again = tokjax.load(model).reconstruct((images[:, None] / 127.5 - 1).astype(np.float32)).astype(np.float64)[:, 0]
    error = np.square((np.clip(again, -1, 1) + 1) / 2 - images / 255).mean((1, 2, 3))
    assert found["images"]["psnr"] == pytest.approx(np.mean(-10 * np.log10(error + 1e-8)), abs=1e-4)


def test_inspect_counts_without_allocating(capsys, tmp_path):
    experiment = tmp_path / "tiny.py"
    experiment.write_text("from tiny_tokenizer import tiny_config as get_config\n")
    out = tokjax_ok(capsys, "inspect", "--config", experiment, "--config.model.blocks_per_level=1", "--resolution", "32")
    rows = dict(line.split("  ", 1) for line in out.splitlines() if not line.startswith(" "))
    count = sum(leaf.size for leaf in _leaves(tiny_tokenizer().variables["params"]))
    assert rows["parameters"].strip().startswith(f"{count:,} (encoder")
    assert rows["latents"].strip() == f"3x16x16x2, {3 * 16 * 16 * 2:,} values"
    assert rows["input"].strip() == f"5x32x32, {5 * 32 * 32 * 3:,} values"


def _leaves(tree):
    for value in tree.values():
        yield from _leaves(value) if isinstance(value, dict) else [value]
