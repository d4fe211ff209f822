"""From a data set to a cache, to trained models of tokens, to samples: the commands, and what they refuse."""

import json

import jax
import numpy as np
import pytest
import tiny_experiment
from PIL import Image
from tiny_tokenizer import tiny_tokenizer, write_tiny

import tokjax
from tokjax.cli import main
from tokjax.config import defaults, stream
from tokjax.data.clips import read_clip
from tokjax.data.sources import open_source
from tokjax.data.tokens import About, read_about, tokens_of
from tokjax.generation.generate import clip_of
from tokjax.generation.package import load_generator
from tokjax.training.loop import Run
from tokjax.training.telemetry import read_metrics

GRID = (1, 8, 8)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Data, tokenizers `fsq_0` and `kl_0`, and caches of their tokens, `codes` and `latents`."""
    folder = tmp_path_factory.mktemp("generation")
    tiny_experiment.write_data(folder)
    for name, quantizer in (("codes", "fsq"), ("latents", "kl")):
        model = write_tiny(folder, quantizer)
        argv = ["encode", str(model), "--data", str(folder / "images"), "--resolution", "16", "--batch", "5", "--shards", "2"]
        assert main([*argv, "--output", str(folder / name)]) == 0
    return folder


def config_for(place, family, steps=4, **model):
    config = defaults(family)
    sizes = {"grid": GRID, "width": 16, "depth": 2, "heads": 2}
    config.model.update(sizes | ({"codes": 20} if family == "language_model" else {"channels": 2}) | model)
    cache = str(place / ("codes" if family == "language_model" else "latents"))
    config.data.train.tokens = stream("tokens", cache, batch=4)
    config.data.validation.tokens = stream("tokens", cache, batch=4)
    config.training.update({"steps": steps, "log_every": 1, "evaluate_every": 100, "checkpoint_every": 2})
    config.optimizer.update({"learning_rate": 3e-3, "ema_decay": 0.9})
    return config


def train(config, workdir):
    workdir.mkdir(exist_ok=True)
    assert Run(config, workdir).train() == 0


@pytest.fixture(scope="module")
def trained(place):
    for family in ("language_model", "diffusion"):
        train(config_for(place, family), place / family)
    return place


def test_a_cache_holds_what_the_tokenizer_makes(place):
    about, tokenizer = read_about(place / "codes"), tokjax.load(place / "fsq_0")
    assert (about.shape, about.codes, about.records, about.mean) == (GRID, 20, tiny_experiment.IMAGES, ())
    source = open_source(stream("tokens", str(place / "codes")).to_dict())
    images = stream("images", str(place / "images"), resolution=16, crop="centre", flip=False).to_dict()
    for number in (0, 7):
        record = source.record(number)
        _, clip = read_clip(open_source(images), number, images)
        assert record.id == f"{number:02d}.jpg"
        np.testing.assert_array_equal(tokens_of(record), tokenizer.encode(clip[None]).indices[0])
    latents = read_about(place / "latents")
    source = open_source(stream("tokens", str(place / "latents")).to_dict())
    values = np.stack([tokens_of(source.record(number)) for number in range(len(source))])
    np.testing.assert_allclose(latents.mean, values.mean((0, 1, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(latents.deviation, values.std((0, 1, 2, 3)), rtol=1e-4)


@pytest.mark.slow
def test_training_learns_saves_and_goes_on(trained, tmp_path):
    for family in ("language_model", "diffusion"):
        rows = [row for row in read_metrics(trained / family) if "loss" in row]
        assert [row["step"] for row in rows] == [1, 2, 3, 4]
        validation = [row for row in read_metrics(trained / family) if "validation/tokens/loss" in row]
        assert validation[-1]["validation/tokens/loss"] < validation[0]["validation/tokens/loss"]
    # Stopped after 2 steps and continued, a run ends where one in a single go does.
    config = config_for(trained, "language_model", steps=2)
    train(config, tmp_path / "again")
    config.training.steps = 4
    train(config, tmp_path / "again")
    one, other = (load_generator(path).variables for path in (trained / "language_model", tmp_path / "again"))
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.slow
def test_the_measured_statistics_travel_with_the_model(trained):
    about, model = read_about(trained / "latents"), load_generator(trained / "diffusion")
    np.testing.assert_allclose(model.variables["latents"]["mean"], about.mean, rtol=1e-6)
    assert model.tokenizer == about.tokenizer


@pytest.mark.slow
def test_an_export_is_the_model_of_the_run(trained, tmp_path):
    for family in ("language_model", "diffusion"):
        assert main(["export", str(trained / family), "-o", str(tmp_path / family)]) == 0
        run, exported = load_generator(trained / family), load_generator(tmp_path / family)
        jax.tree.map(np.testing.assert_array_equal, dict(run.variables), dict(exported.variables))
        assert (exported.step, exported.tokenizer) == (4, run.tokenizer)


def generated(place, family, output, *more):
    tokenizer = place / ("fsq_0" if family == "language_model" else "kl_0")
    return main(["generate", str(place / family), "--tokenizer", str(tokenizer), "-o", str(output), *more])


@pytest.mark.slow
@pytest.mark.parametrize("family", ["language_model", "diffusion"])
def test_samples_are_files_that_the_batch_does_not_change(trained, tmp_path, family):
    steps = ["--steps", "3"] if family == "diffusion" else []
    assert generated(trained, family, tmp_path / "a", "--count", "3", "--batch", "2", *steps) == 0
    assert generated(trained, family, tmp_path / "b", "--count", "3", "--batch", "3", *steps) == 0
    a, b = (
        np.stack([np.asarray(Image.open(path)).astype(int) for path in sorted((tmp_path / name / "samples").glob("*.png"))])
        for name in "ab"
    )
    assert a.shape == (3, 16, 16, 3) and np.abs(a - b).max() <= 1 and np.abs(a[0] - a[1]).max() > 1
    assert len(json.loads((tmp_path / "a" / "samples.json").read_text())["samples"]) == 3
    assert "samples/000002.png" in (tmp_path / "a" / "index.html").read_text()
    assert Image.open(tmp_path / "a" / "grid.png").size == (34, 34)


def fails(capsys, code, message):
    assert code == 1
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_what_generate_refuses(trained, tmp_path, capsys):
    out = tmp_path / "out"
    fails(capsys, generated(trained, "language_model", out, "--classes", "3"), "3 is no class of this model, which")
    fails(capsys, generated(trained, "language_model", out, "--classes", "a"), "--classes 'a' is no list of classes")
    fails(capsys, generated(trained, "language_model", out, "--guidance", "1"), "guidance needs a model of classes")
    fails(capsys, generated(trained, "diffusion", out, "--top-k", "3"), "belong to language models")
    fails(capsys, generated(trained, "language_model", out, "--steps", "3"), "belong to diffusion")
    other = ["generate", str(trained / "language_model"), "--tokenizer", str(trained / "kl_0"), "-o", str(out)]
    fails(capsys, main(other), "trained on the tokens of another tokenizer")
    swapped = ["generate", str(trained / "fsq_0"), "--tokenizer", str(trained / "fsq_0"), "-o", str(out)]
    fails(capsys, main(swapped), "holds a tokenizer, not a model of tokens")
    assert not out.exists()
    with pytest.raises(ValueError, match="holds a model of tokens, not a tokenizer"):
        tokjax.load(trained / "language_model")


def started(place, tmp_path, config):
    """The error with which a run of this config does not start."""
    with pytest.raises(ValueError) as error:
        Run(config, tmp_path / "refused")
    return str(error.value)


def test_what_training_refuses(place, tmp_path):
    write_tiny(tmp_path, "fsq", seed=1)
    argv = ["encode", str(tmp_path / "fsq_1"), "--data", str(place / "images"), "--resolution", "16"]
    assert main([*argv, "-o", str(tmp_path / "other")]) == 0
    config = config_for(place, "language_model")
    config.data.validation.tokens.path = str(tmp_path / "other")
    assert "are of another tokenizer than those of" in started(place, tmp_path, config)
    config = config_for(place, "language_model", codes=21)
    assert "is codes 1x8x8 of 20, but config.model is for codes 1x8x8 of 21" in started(place, tmp_path, config)
    config = config_for(place, "diffusion", grid=(1, 4, 8))
    assert "is latents 1x8x8x2, but config.model is for latents 1x4x8x2" in started(place, tmp_path, config)
    config = config_for(place, "language_model")
    config.data.train.tokens = stream("images", str(place / "images"), batch=4, resolution=16)
    assert "but a language_model learns from tokens" in started(place, tmp_path, config)
    config = config_for(place, "language_model")
    config.data.train.tokens.path = str(place / "images")
    assert "is no cache of tokens" in started(place, tmp_path, config)
    about = json.loads((place / "codes" / "tokens.json").read_text()) | {"records": 0}
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "tokens.json").write_text(json.dumps(about))
    config.data.train.tokens.path = str(tmp_path / "empty")
    assert "is empty" in started(place, tmp_path, config)
    assert About(**about).records == 0


@pytest.mark.slow
def test_a_tokenizer_at_work_while_training(place, tmp_path):
    config = config_for(place, "language_model", steps=1)
    config.data.tokenizer = str(place / "fsq_0")
    clip = {"batch": 4, "resolution": 16}
    config.data.train.tokens = stream("images", str(place / "images"), **clip)
    config.data.validation.tokens = stream("images", str(place / "images"), crop="centre", flip=False, **clip)
    cached = config_for(place, "language_model", steps=1)
    entropies = []
    for name, one in (("live", config), ("cached", cached)):
        train(one, tmp_path / name)
        rows = [row for row in read_metrics(tmp_path / name) if "validation/tokens/loss" in row]
        entropies.append([row["validation/tokens/unigram_entropy"] for row in rows])
    np.testing.assert_allclose(*entropies, rtol=1e-6)


@pytest.mark.parametrize(("grid", "clip"), [((1, 8, 8), (1, 16, 16)), ((2, 3, 4), (3, 6, 8)), ((3, 1, 1), (5, 2, 2))])
def test_the_clip_that_latents_are_of(grid, clip):
    """A causal model of time factor 2 gives 1 + 2 (t - 1) frames, 2 x 2 pixels a latent."""
    assert clip_of(tiny_tokenizer("fsq"), grid) == clip
