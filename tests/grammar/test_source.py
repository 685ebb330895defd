"""How a place in a source is shown."""

from __future__ import annotations

import pytest

from pybuild.grammar import DockerfileError, Source, Span
from pybuild.grammar.source import shown


def show(text: str, *span: int) -> list[str]:
    return Source("D", text).show("wrong", Span(*span)).split("\n")


@pytest.mark.parametrize(
    ("text", "span", "expected"),
    [
        ("a\nbc d\n", (2, 1, 2, 3), ["D:2:1: wrong", "    bc d", "    ~~"]),
        ("\tbc\r\n", (1, 2, 1, 4), ["D:1:2: wrong", "     bc", "     ~~"]),
        ("bc", (1, 3, 1, 3), ["D:1:3: wrong", "    bc", "      ~"]),
        ("bc\nd", (1, 2, 2, 2), ["D:1:2: wrong", "    bc", "     ~"]),
        ("", (1, 1, 1, 1), ["D:1:1: wrong", "    ", "    ~"]),
        ("a", (3, 1, 3, 2), ["D:3:1: wrong"]),
        # A wide character takes two columns, an accent none.
        ("中e\u0301文", (1, 4, 1, 5), ["D:1:4: wrong", "    中e\u0301文", "       ~~"]),
        # What a terminal would obey is not said to it.
        ("a\x1b[1mb\x00\udcff", (1, 6, 1, 7), ["D:1:6: wrong", "    a\ufffd[1mb\ufffd\ufffd", "         ~"]),
    ],
)
def test_the_line_and_a_mark(text, span, expected):
    assert show(text, *span) == expected


def test_of_a_long_line_the_part_around_the_place():
    for place in (1, 150, 5000, 9990):
        _, line, marks = show("x" * (place - 1) + "HERE" + "y" * (10_000 - place), 1, place, 1, place + 4)
        assert len(line) < 320
        start = len(marks) - len(marks.lstrip())
        assert line[start : start + 4] == "HERE" and marks.strip() == "~~~~"


def test_a_long_place_is_marked_as_far_as_it_is_shown():
    _, line, marks = show("x" * 10_000, 1, 1, 1, 10_001)
    assert marks == "    " + "~" * 300 and line == "    " + "x" * 300 + "..."


def test_messages_and_hints_are_short_and_obeyed_by_nobody():
    error = DockerfileError("a\x1b" + "x" * 1000, span=Span(1, 1, 1, 1), hint="h" * 1000)
    assert len(error.message) < 310 and "\x1b" not in error.message and len(error.hint or "") < 310
    assert shown("a\nb\tc") == "a\nb c"
