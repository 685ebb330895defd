"""`pybuild parse`: from a file, a folder or standard input, as text and as JSON; what is wrong, all of it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from pybuild.cli import run


@pytest.fixture
def parse(capsysbinary, monkeypatch, tmp_path):
    """Run `pybuild parse`; its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, stdin=b""):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = run(["parse", *map(str, arguments)])
        captured = capsysbinary.readouterr()
        return code, captured.out.decode("utf-8", "surrogateescape"), captured.err.decode()

    return call


def test_a_file_a_folder_and_standard_input_say_the_same(parse, tmp_path):
    content = b"# escape=`\r\nFROM a`\r\n  # comment\r\n AS b\r\nrun <<-E\r\n\tc\r\nE\r\n"
    (tmp_path / "Dockerfile").write_bytes(content)
    (tmp_path / "other").write_bytes(content)
    code, out, err = parse()
    assert (code, err) == (0, "")
    assert out == "# escape=`\nFROM a AS b\nRUN <<-E\n\tc\r\nE\n"
    assert parse("other")[1] == parse(tmp_path)[1] == parse("-", stdin=content)[1] == out
    found = json.loads(parse("other", "--format", "json")[1])
    assert found["directives"] == {"escape": "`"}
    assert found["stages"] == [{"index": 0, "name": "b", "image": "a", "platform": None, "start_line": 2, "end_line": 7}]
    assert found["instructions"][1] == {
        "keyword": "run",
        "flags": [],
        "args": ["<<-E"],
        "json": False,
        "heredocs": [{"name": "E", "content": "\tc\r\n", "expand": True, "chomp": True}],
        "original": "run <<-E",
        "start_line": 5,
        "end_line": 7,
    }


def test_what_is_wrong_is_told_and_nothing_printed(parse):
    code, out, err = parse("-", "--format", "json", stdin=b"FROM a\nRUM b\nCOPY c\n")
    assert (code, out) == (2, "")
    assert [line for line in err.splitlines() if not line.startswith(" ")] == [
        "error: -:2:1: unknown instruction: RUM",
        "hint: did you mean RUN?",
        "error: -:3:1: COPY needs a source and a destination",
        "hint: write COPY SOURCE... DESTINATION",
        "2 errors",
    ]


def test_warnings_go_where_errors_go(parse):
    code, out, err = parse("-", stdin=b"# syntax=docker/dockerfile:99\nFROM a\n")
    assert (code, out) == (0, "# syntax=docker/dockerfile:99\nFROM a\n")
    assert err.startswith("warning: -:1: this file asks for docker/dockerfile:99, which is newer; ")


def test_bytes_that_are_no_text(parse):
    code, out, _ = parse("-", stdin=b"FROM a\nRUN b\xff\xc3\xa9\n")
    assert (code, out) == (0, "FROM a\nRUN b\udcffé\n")
    code, out, _ = parse("-", "--format", "json", stdin=b"FROM a\nRUN b\xff\xc3\xa9\n")
    assert json.loads(out)["instructions"][1]["args"] == ["b\ufffdé"]


def test_a_file_that_is_not_there(parse):
    code, _, err = parse("nothing")
    assert code == 1
    assert err == "error: no Dockerfile: nothing\nhint: name a Dockerfile, a folder that has one, or - for standard input\n"


@pytest.mark.slow
def test_a_terminal_gets_colour():
    ours, theirs = os.openpty()
    try:
        command = [sys.executable, "-m", "pybuild", "parse", "-"]
        subprocess.run(command, input=b"FROM a\nRUM b\n", stderr=theirs, stdout=subprocess.DEVNULL, check=False)
        seen = os.read(ours, 4096).decode().replace("\r\n", "\n")
    finally:
        os.close(ours)
        os.close(theirs)
    assert seen == (
        "\x1b[31merror: \x1b[0m-:2:1: unknown instruction: RUM\n    RUM b\n    \x1b[31m~~~\x1b[0m\n"
        "\x1b[33mhint: \x1b[0mdid you mean RUN?\n"
    )
