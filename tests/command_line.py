"""A command as a user gives it, in the working directory."""

from pathlib import Path

from tokjax import cli


def done(command, capsys, line):
    """What a command that ends well says on stdout and stderr."""
    assert cli.main([*command.split(), *line.split()]) == 0
    return capsys.readouterr()


def refused(command, capsys, line):
    """The one line on stderr of a command that ends with code 1 and changes no file or folder."""
    before = _files()
    assert cli.main([*command.split(), *line.split()]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("tokjax: ") and err.count("\n") == 1, err
    assert _files() == before
    return err


def _files():
    return {path: path.stat().st_size if path.is_file() else None for path in Path().rglob("*")}
