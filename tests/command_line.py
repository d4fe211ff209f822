"""A command as a user gives it, in the working directory."""

import os

from tokjax import cli


def done(command, capsys, line):
    """What a command that ends well says on stdout and stderr."""
    assert cli.main([*command.split(), *line.split()]) == 0
    return capsys.readouterr()


def refused(command, capsys, line):
    """The one line on stderr of a command that ends with code 1 and changes no file."""
    before = sorted((path, os.stat(path).st_size) for path in os.listdir("."))
    assert cli.main([*command.split(), *line.split()]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("tokjax: ") and err.count("\n") == 1, err
    assert sorted((path, os.stat(path).st_size) for path in os.listdir(".")) == before
    return err
