"""The pass over lines: directives, comments, continuations, here-documents, and the way back to the text."""

from __future__ import annotations

import pytest

from pybuild.grammar import Source
from pybuild.grammar.lines import heredoc_names, split_lines


def lines(text: str) -> list[str]:
    return [line.text for line in split_lines(Source("Dockerfile", text)).lines]


def directives(text: str) -> dict[str, str]:
    return dict(split_lines(Source("Dockerfile", text)).directives)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb", ["a", "b"]),
        ("", []),
        ("\n \n# c\n", []),
        ("  a  ", ["a  "]),
        ("a # b", ["a # b"]),
        ("a \\\nb", ["a b"]),
        ("a \\  \t\n  b", ["a   b"]),
        ("a\\\\\nb", ["a\\\\", "b"]),
        ("a \\ b", ["a \\ b"]),
        ("\\\na", ["a"]),
        ("a \\\n# c\n\n  # d\nb", ["a b"]),
        ("a \\\nb # c\\\nd", ["a b # cd"]),
        ("a \\", ["a "]),
        ("\\\n\\\n", [""]),
    ],
)
def test_continuations_and_comments(text, expected):
    assert lines(text) == expected


def test_the_escape_directive_is_the_continuation_character():
    assert lines("# escape=`\na `\nb\nc:\\\nd") == ["a b", "c:\\", "d"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# syntax=x\n#ESCAPE = `\n#\tcheck=skip=all ", {"syntax": "x", "escape": "`", "check": "skip=all"}),
        # Blanks before the # are nothing to escape, and an end to the others.
        ("  # escape=`\n# check=skip=all", {"escape": "`"}),
        ("#!/bin/x\n# syntax=x\n# escape=`\n# check=y", {"syntax": "x", "check": "y"}),
        ("\ufeff# syntax=x", {"syntax": "x"}),
        ("# syntax=x y\r\n# check=z\r\n", {"syntax": "x y", "check": "z"}),
        ("\n# escape=`", {}),
        ("# a comment\n# escape=`", {}),
        ("# other=x\n# escape=`", {}),
        ("FROM a\n# escape=`", {}),
    ],
)
def test_directives_count_only_at_the_top(text, expected):
    assert directives(text) == expected


@pytest.mark.parametrize("text", ["# escape=x", "# syntax=a\n# SYNTAX=b"])
def test_wrong_directives(text):
    (error,) = split_lines(Source("Dockerfile", text)).errors
    assert error.hint


def test_places_lead_back_to_the_text():
    text = "  RUN a \\\n# c\n    b"
    (line,) = split_lines(Source("Dockerfile", text)).lines
    assert line.text == "RUN a     b"
    assert line.place(0) == (1, 3)
    assert line.place(4) == (1, 7)
    assert line.place(line.text.index("b")) == (3, 5)
    span = line.span(0, len(line.text))
    assert (span.line, span.column, span.end_line, span.end_column) == (1, 3, 3, 6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RUN <<EOF", [("EOF", True, False)]),
        ("RUN <<-EOF", [("EOF", True, True)]),
        ("RUN << EOF", [("EOF", True, False)]),
        ("RUN 3<<EOF cat", [("EOF", True, False)]),
        ("RUN <<'EOF'", [("EOF", False, False)]),
        ('RUN <<"A B"', [("A B", False, False)]),
        ("RUN cat <<A <<-B > x", [("A", True, False), ("B", True, True)]),
        ("RUN cat <<A; x", [("A;", True, False)]),
        ("RUN cat<<A", []),
        ("RUN x <<<A", []),
        ("RUN x <<", []),
        ("RUN x <<''", []),
        ("RUN echo '<<A'", []),
        ("RUN echo '<<A", []),
        ('RUN ["x", "<<A"]', []),
        ("RUN x \\<<A", []),
        ("RUN $((1<<2))", []),
    ],
)
def test_which_words_are_here_documents(text, expected):
    assert [(found.name, found.expand, found.chomp) for found in heredoc_names(text)] == expected


def test_here_documents_take_the_lines_behind():
    text = "RUN <<A <<-'B'\n one \\\n# two\nA\n\t\tthree\n\tB\nCMD x"
    first, second = split_lines(Source("Dockerfile", text)).lines
    assert [(doc.name, doc.content, doc.expand) for doc in first.heredocs] == [
        ("A", " one \\\n# two\n", True),
        ("B", "three\n", False),
    ]
    assert first.last_line == 6
    assert second.text == "CMD x"


def test_only_run_copy_and_add_have_here_documents():
    assert lines("CMD <<A\nA") == ["CMD <<A", "A"]
    assert lines("ONBUILD RUN <<A\nb\nA") == ["ONBUILD RUN <<A"]


def test_an_unended_here_document_is_marked():
    found = split_lines(Source("Dockerfile", "FROM a\nRUN x <<EOF\nb"))
    assert [line.text for line in found.lines] == ["FROM a"]
    (error,) = found.errors
    assert error.message == "the here-document EOF has no end"
    span = error.span
    assert (span.line, span.column, span.end_column) == (2, 7, 12)


def test_only_the_name_alone_ends_a_here_document():
    text = "RUN <<A\n A\nA \n\tA\nAA\nA\nCMD x"
    first, second = split_lines(Source("Dockerfile", text)).lines
    assert first.heredocs[0].content == " A\nA \n\tA\nAA\n"
    assert second.text == "CMD x"
