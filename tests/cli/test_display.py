"""How builds and errors are shown: on a terminal, on a dumb one, without colours."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from pybuild.builder.events import StepOutput, StepStarted
from pybuild.cli.errors import tell
from pybuild.progress import open_progress
from pybuild.progress.plain import Plain
from pybuild.progress.terminal import Terminal

STARTED = StepStarted(0, 1, 1, None, "RUN x")


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_a_dumb_terminal_gets_lines(monkeypatch):
    assert isinstance(open_progress("auto", Screen()), Terminal)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(open_progress("auto", Screen()), Plain)
    assert isinstance(open_progress("tty", Screen()), Terminal)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_who_wants_no_colours_gets_none(monkeypatch, name, value):
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    tell("no such thing", "another")
    assert screen.getvalue().count("\x1b[3") == 2
    monkeypatch.setenv(name, value)
    tell("no such thing", "another")
    open_progress("auto", screen).emit(STARTED)
    assert screen.getvalue().count("\x1b[3") == 2 and "\x1b[2m" not in screen.getvalue()


def test_names_of_files_drive_no_terminal(monkeypatch):
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    tell("a\x1b[2Jb\x07: not found", "near: \udcff\nnext")
    assert "a\N{REPLACEMENT CHARACTER}[2Jb" in screen.getvalue() and "near: \N{REPLACEMENT CHARACTER}\nnext" in screen.getvalue()


def test_output_at_work_is_without_colours_and_never_wider_than_the_screen(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    screen = Screen()
    display = Terminal(screen)
    display.emit(STARTED)
    display._last = 0.0
    wide = "\N{CJK UNIFIED IDEOGRAPH-4E00}"
    display.emit(StepOutput(0, 1, f"\x1b[31mred\x1b[0m\n{wide * 20}\n".encode()))
    lines = screen.getvalue().split("\n")
    assert "\x1b[2m  │ red\x1b[0m" in lines
    assert f"\x1b[2m  │ {wide * 7}\x1b[0m" in lines


def test_what_the_encoding_of_the_output_lacks_is_shown_all_the_same(tmp_path):
    (tmp_path / "Dockerfile").write_text('FROM scratch\nLABEL a="\N{SPARKLES}"\n', encoding="utf-8")
    command = [sys.executable, "-m", "pybuild"]
    subprocess.run([*command, "build", "-q", "-t", "a", tmp_path], check=True, capture_output=True)
    done = subprocess.run(
        [*command, "history", "a"], env=os.environ | {"PYTHONIOENCODING": "latin1"}, capture_output=True, check=False
    )
    assert done.returncode == 0 and b"LABEL a=\\u2728" in done.stdout


def test_names_are_utf_8_whatever_the_locale_is(tmp_path):
    name = "h\N{LATIN SMALL LETTER E WITH ACUTE}llo"
    (tmp_path / name).write_text("x")
    (tmp_path / "Dockerfile").write_text(f"FROM scratch\nCOPY {name} /x\n", encoding="utf-8")
    old = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "pybuild", "build", tmp_path], env=os.environ | old, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"COPY {name} /x" in done.stderr
