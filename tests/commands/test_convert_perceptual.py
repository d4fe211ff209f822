"""tokjax convert perceptual: published files in, one file out that the loss reads, and one sentence for whatever is wrong."""

import hashlib
from functools import partial

import command_line
import jax
import numpy as np
import pytest
from handmade_checkpoints import stored, zipped
from random_perceptual import heads_state, random_perceptual, torchvision_state

from tokjax.conversion import perceptual
from tokjax.conversion.checkpoint_files import write_state
from tokjax.losses.perceptual import load_perceptual
from tokjax.losses.weight_files import about_weights

done, refused = (partial(which, "convert perceptual") for which in (command_line.done, command_line.refused))

ALEXNET = random_perceptual("alexnet")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with AlexNet and its heads, as torch.save writes them."""
    monkeypatch.chdir(tmp_path)
    for name, state in (("alexnet", torchvision_state(ALEXNET, "alexnet")), ("alex", heads_state(ALEXNET, "alexnet"))):
        pickled, storages = stored(state)
        (tmp_path / f"{name}.pth").write_bytes(zipped(pickled, storages))
    return tmp_path


def test_alexnet(capsys, place):
    out, err = done(capsys, "--alexnet alexnet.pth --lpips alex.pth -o w.npz")
    assert out.startswith("wrote LPIPS with alexnet, digest ") and "perceptual_weights_file=w.npz" in out and err == ""
    assert jax.tree.all(jax.tree.map(np.array_equal, load_perceptual("w.npz", "alexnet"), ALEXNET))
    digests = {name: hashlib.sha256((place / name).read_bytes()).hexdigest() for name in ("alexnet.pth", "alex.pth")}
    assert about_weights("w.npz")["sources"] == digests


def test_vgg16_of_files_and_of_a_checkpoint(capsys, place, monkeypatch):
    """The same weights, whether of torchvision's file and the heads or of a released checkpoint; and what is said of sources."""
    vgg = random_perceptual("vgg16")
    heads = heads_state(vgg, "vgg16")
    write_state(place / "vgg16-01234567.safetensors", torchvision_state(vgg, "vgg16"))
    write_state(place / "vgg.safetensors", heads)
    _, err = done(capsys, "--vgg16 vgg16-01234567.safetensors --lpips vgg.safetensors -o files.npz")
    first, second = err.splitlines()
    md5 = hashlib.md5((place / "vgg.safetensors").read_bytes()).hexdigest()
    assert f"warning: vgg.safetensors has the md5 {md5}, not d507d7349b931f0638a25a48a722f98a of the published heads" in first
    assert "not 01234567... as its name promises: it is not torchvision's own file" in second
    assert about_weights("files.npz")["notes"] == [line.removeprefix("tokjax: warning: ") for line in (first, second)]
    monkeypatch.setitem(perceptual.HEADS_MD5, "vgg16", md5)
    (place / "vgg16-01234567.safetensors").rename("vgg16.safetensors")
    assert done(capsys, "--vgg16 vgg16.safetensors --lpips vgg.safetensors -o known.npz").err == ""
    slices, number = {}, 1
    for index in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28):  # of the published module
        for leaf, value in (
            ("weight", vgg[f"conv_{index}"]["kernel"].transpose(3, 2, 0, 1)),
            ("bias", vgg[f"conv_{index}"]["bias"]),
        ):
            slices[f"perceptual_model.net.slice{number}.{index}.{leaf}"] = value
        number += index in (2, 7, 14, 21)
    state = slices | {f"perceptual_model.{name}": value for name, value in heads.items()} | {"x": np.zeros(3, np.float32)}
    write_state(place / "released.safetensors", state)
    done(capsys, "--checkpoint released.safetensors -o released.npz")
    digests = {about_weights(f"{name}.npz")["digest"] for name in ("files", "known", "released")}
    assert len(digests) == 1
    assert jax.tree.all(jax.tree.map(np.array_equal, load_perceptual("released.npz"), vgg))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "--vgg16 alexnet.pth --lpips alex.pth -o w.npz",
            "tensor features.0.weight in alexnet.pth has shape (64, 3, 11, 11)",
        ),
        ("--alexnet alex.pth --lpips alex.pth -o w.npz", "alex.pth lacks the tensor features.0.weight, which alexnet needs"),
        ("--alexnet alexnet.pth --lpips alexnet.pth -o w.npz", "alexnet.pth lacks the tensor lin0.model.1.weight"),
        (
            "--alexnet alexnet.pth --lpips vgg.pth -o w.npz",
            "lin1.model.1.weight in vgg.pth has shape (1, 128, 1, 1), but",
        ),
        ("--alexnet alexnet.pth --lpips nan.pth -o w.npz", "lin0.model.1.weight in nan.pth holds values that are not finite"),
        ("--alexnet half.pth --lpips alex.pth -o w.npz", "half.pth is cut short or damaged"),
        ("--alexnet none.pth --lpips alex.pth -o w.npz", "No such file or directory: 'none.pth'"),
        ("--checkpoint alex.pth -o w.npz", "alex.pth holds no perceptual network: no tensor is called net.slice1.0.weight"),
        ("--alexnet alexnet.pth -o w.npz", "--lpips goes with --vgg16 or --alexnet"),
        ("--checkpoint alex.pth --lpips alex.pth -o w.npz", "--lpips goes with --vgg16 or --alexnet"),
        ("--alexnet alexnet.pth --lpips alex.pth -o w.pth", "cannot write w.pth: give a name that ends in .npz"),
        ("--alexnet alexnet.pth --lpips alex.pth -o there.npz", "there.npz exists already"),
        ("--alexnet alexnet.pth --lpips alex.pth -o none/w.npz", "the folder none does not exist"),
    ],
)
def test_what_is_refused(capsys, place, line, message):
    heads = [np.ones((1, channels, 1, 1), np.float32) for channels in (64, 128, 256, 512, 512)]
    vgg, storages = stored({f"lin{tap}.model.1.weight": head for tap, head in enumerate(heads)})
    (place / "vgg.pth").write_bytes(zipped(vgg, storages))
    nan = heads_state(ALEXNET, "alexnet") | {"lin0.model.1.weight": np.full((1, 64, 1, 1), np.nan, np.float32)}
    (place / "nan.pth").write_bytes(zipped(*stored(nan)))
    (place / "half.pth").write_bytes((place / "alexnet.pth").read_bytes()[:10000])
    (place / "there.npz").write_bytes(b"")
    assert message in refused(capsys, line)
