"""Go's filepath.Match as a regular expression, against a matcher written from its documentation."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybuild.builder.contexts.patterns import is_pattern, translate


def fits(pattern: str, name: str) -> bool:
    return re.fullmatch(translate(pattern), name, re.DOTALL) is not None


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("abc", "abc", True),
        ("*", "abc", True),
        ("*c", "abc", True),
        ("a*", "ab/c", False),
        ("a*/b", "abc/b", True),
        ("a*b*c", "axbyc", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("[^a]", "/", False),
        ("[\\]a]", "]", True),
        ("[\\-x]", "-", True),
        ("[c-a]", "b", False),
        ("[!a]", "!", True),
        ("\\*", "*", True),
        ("\\a", "a", True),
        ("**", "a/b", False),
        ("a.b", "axb", False),
        ("(a|b)", "a", False),
        ("a\nb?", "a\nb\n", True),
    ],
)
def test_match(pattern, name, expected):
    assert fits(pattern, name) is expected


@pytest.mark.parametrize("pattern", ["[", "[a", "[]", "[]a]", "[-a]", "[a-]", "[a-", "a\\", "[\\"])
def test_malformed_patterns(pattern):
    with pytest.raises(ValueError, match="pattern"):
        translate(pattern)


def test_which_texts_are_patterns():
    assert [text for text in ("a*", "a?", "a[", "a", "a]", "") if is_pattern(text)] == ["a*", "a?", "a["]


def model(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    head, rest = pattern[0], pattern[1:]
    if head == "*":
        return model(rest, name) or (bool(name) and name[0] != "/" and model(pattern, name[1:]))
    if head == "\\":
        return name[:1] == rest[0] and model(rest[1:], name[1:])
    return bool(name) and (name[0] == head or (head == "?" and name[0] != "/")) and model(rest, name[1:])


PATTERNS = st.lists(st.sampled_from(["a", "b", "/", ".", "*", "?", "\\*", "\\?", "\\\\", "("]), max_size=7).map("".join)


@given(PATTERNS, st.text(st.sampled_from("ab/.*?\\("), max_size=7))
def test_a_pattern_fits_what_the_model_says(pattern, name):
    assert fits(pattern, name) is model(pattern, name)


@given(st.text(max_size=12), st.booleans())
def test_any_text_is_a_pattern_or_a_value_error(pattern, double_star):
    try:
        expression = translate(pattern, double_star=double_star)
    except ValueError:
        return
    re.compile(expression)
