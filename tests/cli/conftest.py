"""The command line, called in this process."""

from __future__ import annotations

import pytest

from pybuild.cli import run


@pytest.fixture
def cli(capsys):
    """Run a command line; its exit code, output and errors."""

    def call(*arguments):
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
