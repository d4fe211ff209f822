"""Saving and restoring in one process on one device; tests/faults breaks things, tests/devices moves between devices."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tokjax.training import checkpoints as module
from tokjax.training.checkpoints import CheckpointError, Checkpoints, read

ROOT = Path(module.__file__).parents[2]


@flax.struct.dataclass
class State:
    step: jax.Array
    params: dict
    optimizer: optax.OptState
    ema: dict | None


OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3, mu_dtype=jnp.bfloat16))


def make_state(seed: int = 0, width: int = 5) -> State:
    keys = jax.random.split(jax.random.key(seed), 3)
    params = {"encoder": {"kernel": jax.random.normal(keys[0], (3, 4, width)), "bias": jnp.zeros(width)}}
    params["half"] = jax.random.normal(keys[1], (7,), jnp.bfloat16)
    gradients = jax.tree.map(lambda leaf: jax.random.normal(keys[2], leaf.shape, leaf.dtype), params)
    _, optimizer = OPTIMIZER.update(gradients, OPTIMIZER.init(params), params)
    return State(jnp.int32(seed), params, optimizer, None)


def shapes_of(state: State) -> State:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state)


def assert_bitwise_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def restore_newest(directory: Path, state: State):
    checkpoints = Checkpoints(directory)
    return checkpoints.restore(shapes_of(state), checkpoints.newest())


@pytest.fixture
def saved(tmp_path):
    """Checkpoints of the steps 1 and 2."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2):
        checkpoints.save(step, make_state(step), {"step": step, "names": ["ä"]})
    checkpoints.wait()
    yield checkpoints
    checkpoints.close()


def test_the_newest_state_and_its_record_come_back_bitwise(saved, tmp_path):
    restored = restore_newest(tmp_path / "checkpoints", make_state())
    assert restored.step == 2
    assert restored.record == {"step": 2, "names": ["ä"]}
    assert_bitwise_equal(restored.state, make_state(2))
    assert saved.steps() == [1, 2]


def test_nothing_saved_has_no_newest_step(saved, tmp_path):
    assert Checkpoints(tmp_path / "new" / "checkpoints").newest() is None
    assert saved.newest() == 2


def test_a_state_may_be_donated_as_soon_as_save_returns(tmp_path):
    state = {"a": jnp.arange(2**20, dtype=jnp.float32)}
    step = jax.jit(lambda s: jax.tree.map(lambda leaf: leaf * -3 - 1, s), donate_argnums=0)
    step(jax.tree.map(jnp.copy, state))  # compiled before the race
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state, {})
    for _ in range(5):
        state = step(state)
    checkpoints.close()
    np.testing.assert_array_equal(read(tmp_path, keys=("a",))[1]["a"], np.arange(2**20, dtype=np.float32))


def test_only_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (9, 10, 11, 100):
        checkpoints.save(step, {"a": jnp.ones(3)}, {})
    checkpoints.close()
    assert checkpoints.steps() == [11, 100]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["100", "11"]


def test_older_steps_stay_until_the_new_one_has_its_digests(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, {"a": jnp.ones(3)}, {})
    checkpoints.wait()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_digests", full)
    checkpoints.save(2, {"a": jnp.zeros(3)}, {})
    with pytest.raises(
        CheckpointError, match=r"saving step 2 to .* failed; the steps saved before it are intact: .*No space left"
    ):
        checkpoints.wait()
    monkeypatch.undo()
    assert read(tmp_path, keys=("a",))[0] == 1
    checkpoints.save(3, {"a": jnp.zeros(3)}, {})
    checkpoints.close()
    assert checkpoints.steps() == [3]


def test_a_step_that_is_there_already_is_left_as_it_is(saved, tmp_path):
    before = (tmp_path / "checkpoints" / "2" / "digests.json").stat().st_mtime_ns
    saved.save(2, make_state(2), {})
    again = Checkpoints(tmp_path / "checkpoints")
    again.restore(shapes_of(make_state()), 2)
    again.save(2, make_state(2), {})
    again.close()
    assert (tmp_path / "checkpoints" / "2" / "digests.json").stat().st_mtime_ns == before
    with pytest.raises(CheckpointError, match=r"saving step 1 .*already exists"):
        again_without_restoring = Checkpoints(tmp_path / "checkpoints")
        again_without_restoring.save(1, make_state(1), {})


def test_a_record_that_json_cannot_hold_is_an_error(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(CheckpointError, match=r"saving step 1 .*not JSON serializable"):
        checkpoints.save(1, {"a": jnp.ones(3)}, {"x": object()})
        checkpoints.wait()


def test_saves_that_never_finished_are_never_used_and_cleared_away(saved, tmp_path, caplog):
    directory = tmp_path / "checkpoints"
    (directory / "2").rename(directory / "3")
    (directory / "3" / "digests.json").unlink()
    (directory / "4.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    assert read(directory)[0] == 1
    with caplog.at_level(logging.WARNING):
        restored = restore_newest(directory, make_state())
    assert restored.step == 1
    assert [path.name for path in directory.iterdir()] == ["1"]
    assert "removed" in caplog.text and str(directory / "3") in caplog.text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda s: s.replace(params={**s.params, "half": s.params["half"].astype(jnp.float32)}),
            r"params/half is bfloat16\[7\] in the",
        ),
        (lambda s: s.replace(ema=s.params), r"ema/encoder/bias is absent in the checkpoint but float32\[5\] here"),
        (
            lambda s: s.replace(params={"half": s.params["half"]}),
            r"params/encoder/bias is float32\[5\] in the checkpoint but absent",
        ),
        (
            lambda s: make_state(width=6),
            r"mu/encoder/bias is bfloat16\[5\] in the checkpoint but bfloat16\[6\] here; continue with the configuration",
        ),
    ],
)
def test_a_state_of_another_kind_is_refused_by_name(saved, tmp_path, change, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        restore_newest(tmp_path / "checkpoints", change(make_state()))


def test_parts_are_read_without_knowing_the_rest(saved, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    step, parts, record = read(tmp_path / "checkpoints", keys=("params", "ema", "step"))
    assert (step, record["step"], set(parts), parts["ema"], parts["step"]) == (2, 2, {"params", "ema", "step"}, None, 2)
    assert isinstance(parts["params"]["encoder"]["kernel"], np.ndarray)
    assert_bitwise_equal(parts["params"], make_state(2).params)
    assert_bitwise_equal(read(tmp_path / "checkpoints", step=1)[1]["params"], make_state(1).params)
    assert sorted(tmp_path.rglob("*")) == before


def test_reading_what_is_not_there_says_what_is(saved, tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no checkpoint of step 7 in .*; saved steps: 1, 2"):
        read(tmp_path / "checkpoints", step=7)
    with pytest.raises(CheckpointError, match=r"there is no checkpoint in .*; saved steps: none"):
        read(tmp_path)
    with pytest.raises(CheckpointError, match=r"has no part 'weights'; it has: .*params"):
        read(tmp_path / "checkpoints", keys=("weights",))


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        CheckpointError, match=r"cannot write checkpoints to .*file/checkpoints; choose another workdir: .*Not a directory"
    ):
        Checkpoints(tmp_path / "file" / "checkpoints")


def test_a_directory_of_somebody_else_is_an_error(tmp_path):
    # Root may write anywhere, so a child that is root becomes nobody, who may not walk to this directory but may stay in it.
    script = "import os; from pathlib import Path; from tokjax.training.saved_steps import prepare; "
    script += "os.getuid() or os.setuid(65534); prepare(Path('.'))"
    (tmp_path / "checkpoints").mkdir(mode=0o555)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path / "checkpoints", env=environment, capture_output=True, text=True
    )
    assert "CheckpointError: cannot write checkpoints to ." in found.stderr and "may only read it" in found.stderr
