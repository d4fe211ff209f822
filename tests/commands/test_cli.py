"""The command line itself: help, version, wrong usage, and that it starts fast."""

import json
import os
import re
import subprocess
import sys

import jax
import pytest

from tokjax import __version__, cli


def used(capsys, *argv):
    """(exit code, stdout, stderr) of a call that argparse ends."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(argv))
    return ended.value.code, *capsys.readouterr()


def test_help_names_every_command(capsys):
    code, out, _ = used(capsys, "--help")
    assert code == 0
    assert re.findall(r"^ {4}(\w+)", out, re.MULTILINE) == list(cli.COMMANDS)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_explains_itself_with_an_example(capsys, command):
    code, out, err = used(capsys, command, "--help")
    assert code == 0 and not err
    assert f"usage: tokjax {command}" in out and f"\n  tokjax {command} " in out


def test_version(capsys):
    assert used(capsys, "--version") == (0, f"tokjax {__version__}\n", "")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["tarin"], "invalid choice: 'tarin'"),
        (["inspect"], "the following arguments are required: --config"),
        (["reconstruct", "model", "in.mp4"], "the following arguments are required: -o/--output"),
        (["inspect", "--config", "x.py", "--batch", "two"], "argument --batch: invalid int value: 'two'"),
        (["export", "run", "--output", "out", "--force"], "unknown argument '--force' of `tokjax export`"),
        (["inspect", "--config", "x.py", "--config.seed", "3"], "unknown argument '3' of `tokjax inspect`"),
        (["export", "run", "--output", "out", "--config.seed=3"], "`tokjax export` takes no --config.* values"),
        (["prepare", "films"], "invalid choice: 'films'"),
    ],
)
def test_wrong_usage_is_code_2_and_a_line(capsys, argv, message):
    code, out, err = used(capsys, *argv)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


def test_an_interrupt_is_code_130(capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("tokjax.conversion.package.family_of", interrupted)
    assert cli.main(["export", "run", "--output", "out"]) == 130
    assert capsys.readouterr().err == "tokjax: interrupted\n"


def test_too_little_device_memory_is_a_sentence_that_says_what_to_do(capsys, monkeypatch):
    def full(_):
        jax.block_until_ready(jax.jit(lambda: jax.numpy.zeros((1 << 40, 1 << 20)))())

    monkeypatch.setattr("tokjax.commands.inspect.run", full)
    assert cli.main(["inspect", "--config", "x.py"]) == 1
    assert capsys.readouterr().err.startswith("tokjax: the device has too little memory for this: take a smaller batch")


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("tokjax.conversion.package.family_of", lambda *_: json.loads("{"))
    with pytest.raises(ValueError, match="Expecting property name"):
        cli.main(["export", "run", "--output", "out"])


LIGHT = """
import sys
from tokjax import cli
try:
    cli.main(["--help"])
except SystemExit:
    pass
print(sorted({"jax", "numpy", "flax", "grain", "av"} & sys.modules.keys()))
"""


def _cpu_seconds(code):
    """(output, CPU seconds) of a Python process."""
    before = os.times()
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = os.times()
    return run.stdout, after.children_user + after.children_system - before.children_user - before.children_system


def test_starting_is_light():
    """The best of three, less what Python takes to start, against a machine that is busy with other tests."""
    empty = min(_cpu_seconds("pass")[1] for _ in range(3))
    runs = [_cpu_seconds(LIGHT) for _ in range(3)]
    assert runs[0][0].splitlines()[-1] == "[]"
    assert min(seconds for _, seconds in runs) - empty <= 0.3


def test_the_public_face_is_lazy_and_complete():
    code = "import sys, tokjax; print('jax' in sys.modules, dir(tokjax)); tokjax.build; print('jax' in sys.modules)"
    first, second = _cpu_seconds(code)[0].splitlines()
    assert first == "False ['Tokenizer', '__version__', 'build', 'load']"
    assert second == "True"
    import tokjax

    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        tokjax.lod  # noqa: B018
