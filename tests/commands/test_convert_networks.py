"""tokjax convert perceptual --inception and --i3d: published files in, one file each that evaluation reads, no code run."""

from functools import partial

import command_line
import numpy as np
import pytest
from handmade_checkpoints import reference, stored, table, tensor, text, zipped
from random_networks import published_state

from tokjax.evaluation.networks import Weights, open_all
from tokjax.losses.weight_files import PerceptualError

done, refused = (partial(which, "convert perceptual") for which in (command_line.done, command_line.refused))


@pytest.fixture(scope="module")
def i3d():
    return published_state("i3d")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def torchscript(state):
    """A TorchScript archive: modules within modules, of classes that exist nowhere, with tensors as attributes."""
    storages = {str(number): value.tobytes() for number, value in enumerate(state.values())}
    tree = {}
    for number, (name, value) in enumerate(state.items()):
        strides = [step // value.itemsize for step in value.strides]
        *path, leaf = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = tensor("Float", str(number), value.size, 0, value.shape, strides)

    def module(node):
        entries = {name: module(value) if isinstance(value, dict) else value for name, value in node.items()}
        return reference("__torch__.src.i3dpt_jit.I3D") + b")\x81" + table({"training": b"\x89", **entries}) + b"b"

    return zipped(module(tree), storages)


def in_torchscript(state):
    """VideoGPT's names as those of the TorchScript."""
    places = {"b0": "branch_0", "b1a": "branch_1.0", "b1b": "branch_1.1", "b2a": "branch_2.0", "b2b": "branch_2.1"}
    places |= {"b3b": "branch_3.1"}
    renamed = {}
    for name, value in state.items():
        parts = name.replace(".bn.", ".batch3d.").replace("logits.", "conv3d_0c_1x1.").split(".")
        parts[0] = parts[0].lower()
        renamed[".".join(places.get(part, part) for part in parts)] = value
    return renamed


def test_i3d_of_every_container(capsys, place, i3d):
    np.savez("plain.npz", **i3d)
    wrapped = {f"module.{name}": value for name, value in i3d.items()} | {
        "module.x.bn.num_batches_tracked": np.zeros(1, np.int64)
    }
    (place / "state.pt").write_bytes(zipped(*stored(wrapped)))
    (place / "script.pt").write_bytes(torchscript(in_torchscript(i3d)))
    for source in ("plain.npz", "state.pt", "script.pt"):
        out, err = done(capsys, f"--i3d {source} -o {source}.i3d.npz")
        assert out.startswith("wrote i3d, digest ") and err == ""
    found = [Weights(f"{source}.i3d.npz") for source in ("plain.npz", "state.pt", "script.pt")]
    assert len({one.about["digest"] for one in found}) == 1
    assert [one.about["sources"]["layout"] for one in found] == ["videogpt", "videogpt", "torchscript"]
    kernel = found[0].params["Mixed_3b"]["b1b"]["kernel"]
    np.testing.assert_array_equal(kernel, i3d["Mixed_3b.b1b.conv3d.weight"].transpose(2, 3, 4, 1, 0))
    np.testing.assert_array_equal(found[2].params["logits.bias"], i3d["logits.conv3d.bias"])


def test_a_doubt_about_the_source_is_said_and_kept(capsys, i3d):
    np.savez("rgb_imagenet.npz", **i3d)
    _, err = done(capsys, "--i3d rgb_imagenet.npz -o w.npz")
    assert "rgb_imagenet.npz looks like the I3D of another training" in err
    assert Weights("w.npz").about["notes"] == [err.removeprefix("tokjax: warning: ").strip()]


def test_inception(capsys):
    state = published_state("inception")
    np.savez("pt_inception.npz", **state, **{"AuxLogits.fc.weight": np.zeros(3, np.float32)})
    _, err = done(capsys, "--inception pt_inception.npz -o w.npz")
    assert "not 6726825d... of the published file" in err
    weights = Weights("w.npz")
    np.testing.assert_array_equal(weights.params["fc.kernel"], state["fc.weight"].T)
    found = weights.params["Mixed_6b"]["branch7x7_2"]["kernel"]
    np.testing.assert_array_equal(found[0], state["Mixed_6b.branch7x7_2.conv.weight"].transpose(2, 3, 1, 0))
    assert weights.params["Mixed_7c"]["branch_pool"]["variance"].shape == (192,)


def test_what_is_refused(capsys, place, i3d):
    some = dict(list(i3d.items())[:9])
    np.savez("some.npz", **some)
    np.savez("nan.npz", **i3d | {"logits.conv3d.bias": np.full(400, np.nan, np.float32)})
    np.savez("more.npz", **i3d, extra=np.zeros(1, np.float32))
    np.savez("shape.npz", **i3d | {"logits.conv3d.bias": np.zeros(600, np.float32)})
    (place / "half.npz").write_bytes((place / "some.npz").read_bytes()[:1000])
    np.savez("objects.npz", a=np.array([{}], object))
    evil = reference("os.system") + b"(" + text("touch ran") + b"tR"
    (place / "evil.pt").write_bytes(zipped(evil, {}))
    nested = reference("__torch__.A") + b")\x81}(" + text("a")
    (place / "deep.pt").write_bytes(zipped(nested * 50 + b"N" + b"ub" * 50, {}))
    for line, message in (
        ("--i3d some.npz -o w.npz", "some.npz lacks the tensor"),
        ("--i3d nan.npz -o w.npz", "logits.conv3d.bias in nan.npz holds values that are not finite"),
        ("--i3d more.npz -o w.npz", "more.npz holds 1 tensors that i3d has not, the first is extra"),
        ("--i3d shape.npz -o w.npz", "logits.conv3d.bias in shape.npz has shape (600,)"),
        (
            "--inception some.npz -o w.npz",
            "some.npz holds no weights of inception: wanted is pt_inception-2015-12-05-6726825d.pth",
        ),
        ("--i3d half.npz -o w.npz", "half.npz is cut short or damaged"),
        ("--i3d objects.npz -o w.npz", "holds objects rather than arrays"),
        ("--i3d evil.pt -o w.npz", "asks for os.system, which is no data and is never run"),
        ("--i3d deep.pt -o w.npz", "is damaged: its modules hold one another"),
        ("--i3d none.pt -o w.npz", "No such file or directory: 'none.pt'"),
        ("--i3d some.npz --lpips some.npz -o w.npz", "--lpips goes with --vgg16 or --alexnet"),
        ("--i3d some.npz -o w.pt", "give a name that ends in .npz"),
    ):
        assert message in refused(capsys, line)
    assert not (place / "ran").exists()


def test_files_of_weights_are_checked(capsys, place, i3d):
    np.savez("plain.npz", **i3d)
    done(capsys, "--i3d plain.npz -o i3d.npz")
    with pytest.raises(
        PerceptualError, match=r"no file of weights inception.npz; make it with `tokjax convert perceptual --inception"
    ):
        Weights("inception.npz")
    with pytest.raises(PerceptualError, match="no file that `tokjax convert perceptual` wrote"):
        Weights("plain.npz")
    with pytest.raises(PerceptualError, match="second file with weights of i3d"):
        open_all(["i3d.npz", "i3d.npz"])
    with np.load("i3d.npz") as file:
        arrays = dict(file)
    arrays["logits/bias"] = arrays["logits/bias"] + 1
    np.savez("changed.npz", **arrays)
    with pytest.raises(PerceptualError, match=r"changed.npz is damaged: its weights are not those that were written"):
        Weights("changed.npz")
