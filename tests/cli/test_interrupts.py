"""Ctrl-C, once and again: the first ends what is going on, later ones do not disturb how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# Ends as `main` does, with a command in place of the command line that tells when it can be interrupted, and when it cleans up.
PROGRAM = """
import signal, sys
import pybuild.cli
from pybuild.__main__ import main
from pybuild.cli.errors import guarded

def work():
    try:
        print("at work", flush=True)
        signal.pause()
    finally:
        print("cleaning", flush=True)
        sys.stdin.readline()
        print("clean", flush=True)

pybuild.cli.run = lambda arguments, is_last: guarded(work)
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_disturb_the_cleaning_up(number):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout.readline() == "at work\n"
        program.send_signal(number)
        assert program.stdout.readline() == "cleaning\n"
        for again in (signal.SIGINT, signal.SIGTERM):
            program.send_signal(again)
        out, err = program.communicate("go on\n")
    assert (program.returncode, out) == (130, "clean\n")
    assert err == "error: interrupted\n"


def test_an_ignored_interrupt_stays_ignored():
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    with subprocess.Popen(
        [sys.executable, "-c", ignoring + PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout.readline() == "at work\n"
        program.send_signal(signal.SIGINT)
        program.send_signal(signal.SIGTERM)
        out, err = program.communicate("go on\n")
    assert (program.returncode, out, err) == (130, "cleaning\nclean\n", "error: interrupted\n")
