""".dockerignore: which pattern hides which path, the last one deciding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybuild.builder.contexts.ignore import Ignore
from pybuild.builder.errors import ContextError


def ignore(text: str) -> Ignore:
    return Ignore.parse(text, ".dockerignore")


@pytest.mark.parametrize(
    ("text", "hidden", "kept"),
    [
        ("a", ["a", "a/b", "a/b/c"], ["b/a", "ab", "A"]),
        ("/a", ["a", "a/b"], ["b/a"]),
        ("./a/", ["a", "a/b"], ["b/a"]),
        ("a/../b", ["b"], ["a"]),
        ("  a  ", ["a"], []),
        ("a b", ["a b"], ["a", "b"]),
        ("*.o", ["x.o", "x.o/y"], ["d/x.o", "x.oo"]),
        ("*/*.o", ["d/x.o"], ["x.o", "d/e/x.o"]),
        ("a?c", ["abc"], ["a/c", "ac"]),
        ("[a-c]", ["a", "b"], ["d", "/"]),
        ("[^a]", ["b"], ["a"]),
        ("\\*", ["*"], ["a"]),
        ("a.b", ["a.b"], ["axb"]),
        ("**", ["a", "a/b"], []),
        ("**/a", ["a", "b/a", "b/c/a", "b/a/c"], ["ba", "b/ca"]),
        ("a/**", ["a/b", "a/b/c"], ["b"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a/xb", "ab"]),
        ("**.txt", ["a.txt", "d/a.txt", ".txt"], ["a.txtx"]),
        ("a**b", ["ab", "ax/b"], ["axb"]),
        ("a\n!a/b", ["a", "a/c"], ["a/b", "a/b/c"]),
        ("*\n!keep\n!*.md\nREADME.md", ["x", "README.md"], ["keep", "keep/x", "a.md"]),
        ("!a\na", ["a"], []),
        ("a\n! a", [], ["a"]),
        ("#a\n #b\n\n", ["#b"], ["a", "#a"]),
        ("\ufeffa\r\nb\r\n", ["a", "b"], []),
        (".", [], ["a"]),
        ("/", [], ["a"]),
        ("..", [], ["a"]),
        ("a\x0bb", ["a\x0bb"], ["a", "b"]),
    ],
)
def test_patterns(text, hidden, kept):
    found = ignore(text)
    assert [path for path in (*hidden, *kept) if found.hides(path)] == hidden


@pytest.mark.parametrize(("text", "line"), [("!", 1), ("a\n!  ", 2), ("a\n\nb[", 3), ("x\\", 1), ("[]a]", 1)])
def test_what_is_no_pattern_is_an_error_with_its_line(text, line):
    with pytest.raises(ContextError, match=rf"^\.dockerignore:{line}: ") as caught:
        ignore(text)
    assert caught.value.hint


def test_the_culprit_is_the_pattern_that_decides():
    found = ignore("a\n*.o\n!keep.o\nx.o")
    assert (found.culprit("x.o").text, found.culprit("x.o").line) == ("x.o", 4)
    assert (found.culprit("a/b").text, found.culprit("a/b").line) == ("a", 1)
    assert found.culprit("keep.o") is None
    assert found.culprit("other") is None


def test_exceptions_are_known():
    assert ignore("a\n!b").has_exceptions
    assert not ignore("a").has_exceptions


LINES = st.lists(st.text(st.sampled_from("ab/*?!.[]\\^-# "), max_size=6), max_size=6)
PATHS = st.lists(st.text(st.sampled_from("ab.*"), min_size=1, max_size=3), min_size=1, max_size=3).map("/".join)


@given(LINES, PATHS)
def test_hidden_paths_have_a_culprit_and_others_none(lines, path):
    try:
        found = ignore("\n".join(lines))
    except ContextError as error:
        assert error.hint
    else:
        assert found.hides(path) is (found.culprit(path) is not None)


@given(LINES.map(lambda lines: [line for line in lines if not line.strip().startswith("!")]), PATHS)
def test_without_exceptions_what_is_in_a_hidden_directory_is_hidden(lines, path):
    try:
        found = ignore("\n".join(lines))
    except ContextError:
        return
    if found.hides(path):
        assert found.hides(f"{path}/below")
