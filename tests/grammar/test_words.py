"""Words: quotes, escapes and every form of expansion, and the errors of those that are malformed."""

from __future__ import annotations

import pytest

from pybuild.grammar import WordError, expand, split

ENV = {
    "set": "value",
    "empty": "",
    "file": "lib.so.1",
    "path": "/a/b/c",
    "stars": "a*b*",
    "two": "one two",
    "lines": "up\ndown",
    "ñ": "n",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("a b", "a b"),
        # Quotes and escapes
        ("'$set'", "$set"),
        ('"$set"', "value"),
        ('"it\'s"', "it's"),
        ("a'b'\"c\"d", "abcd"),
        (r"\$set", "$set"),
        (r"\'\"", "'\""),
        (r"a\b", "ab"),
        (r"a\\b", r"a\b"),
        (r'"a\b"', r"a\b"),
        (r'"\"\$\\"', r"\"$".replace("\\", "") + "\\"),
        (r"'a\b'", r"a\b"),
        ("a\\", "a"),
        # Names
        ("$set", "value"),
        ("${set}x", "valuex"),
        ("$setx", ""),
        ("$set.x", "value.x"),
        ("$1x", "x"),
        ("$12x", "x"),
        ("$ñ", "n"),
        ("$", "$"),
        ("a$", "a$"),
        ("$.", "$."),
        ("$?x", "x"),
        ("$$set", "set"),
        ("${unset}", ""),
        # Defaults and alternatives
        ("${unset:-w}", "w"),
        ("${unset-w}", "w"),
        ("${empty:-w}", "w"),
        ("${empty-w}", ""),
        ("${set:-w}", "value"),
        ("${unset:+w}", ""),
        ("${empty:+w}", ""),
        ("${empty+w}", "w"),
        ("${set:+w}", "w"),
        ("${set:?w}", "value"),
        ("${empty?w}", ""),
        ("${unset:-${empty:-$set}}", "value"),
        ("${unset:-'}'}", "}"),
        ('${unset:-"a}b"}', "a}b"),
        (r"${unset:-\}}", "}"),
        ("${unset:-a b}", "a b"),
        ("${set}}", "value}"),
        # Prefixes and suffixes
        ("${file%.*}", "lib.so"),
        ("${file%%.*}", "lib"),
        ("${file#*.}", "so.1"),
        ("${file##*.}", "1"),
        ("${path##*/}", "c"),
        ("${path%/*}", "/a/b"),
        ("${file#l?b}", ".so.1"),
        ("${file#none}", "lib.so.1"),
        ("${file#}", "lib.so.1"),
        ("${file##}", "lib.so.1"),
        ("${stars%\\*}", "a*b"),
        ("${stars%%\\**}", "a"),
        ("${unset#x}", ""),
        ("${lines#u*}", "p\ndown"),
        ("${lines##u*}", "\ndown"),
        # Replacements
        ("${path/\\//-}", "-a/b/c"),
        ("${path//\\//-}", "-a-b-c"),
        ("${path//\\//}", "abc"),
        ("${file/s?/X}", "lib.X.1"),
        ("${file/*/X}", "X"),
        ("${file//*/X}", "X"),
        ("${empty//*/X}", "X"),
        ("${file///}", "lib.so.1"),
        ("${set/a/$file}", "vlib.so.1lue"),
        ("${set/a/\\1}", "v\\1lue"),
        ("${set/[av]/x}", "value"),
    ],
)
def test_expand(text, expected):
    assert expand(text, ENV) == expected


@pytest.mark.parametrize(
    ("text", "message", "marked"),
    [
        ("a'b", "a single quote without its end", "'b"),
        ('a"b', "a double quote without its end", '"b'),
        (r'"b\"', "a double quote without its end", r'"b\"'),
        ("x${", "${ without a name behind it", "${"),
        ("${}", "${ without a name behind it", "${"),
        ("${:-x}", "${ without a name behind it", "${"),
        ("${a", "${ without a } behind it", "${a"),
        ("${a:-b", "${ without a } behind it", "${a:-b"),
        ("${a:-${b}", "${ without a } behind it", "${a:-${b}"),
        ("${a:b}", "unknown modifier ':b'", ":b"),
        ("${a:#b}", "unknown modifier ':#'", ":#"),
        ("${a=b}", "unknown modifier '=b'", "=b"),
        ("${a^^}", "unknown modifier '^^'", "^^"),
        ("${a/b}", "${x/ without a second /", "${a/b}"),
        ("${a//}", "${x// without a second /", "${a//}"),
        ("x${a:?}y", "a: is not set", "${a:?}"),
        ("x${empty:?}y", "empty: is empty", "${empty:?}"),
        ("x${a?give $set}y", "a: give value", "${a?give $set}"),
        (r"${set#\q}", r"\q means nothing in a pattern", r"${set#\q}"),
    ],
)
def test_errors_mark_what_is_wrong(text, message, marked):
    with pytest.raises(WordError) as caught:
        expand(text, ENV)
    error = caught.value
    assert error.message == message
    assert text[error.span.column - 1 : error.span.end_column - 1] == marked
    assert error.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", ["80"]),
        ("$two", ["one", "two"]),
        ('"$two"', ["one two"]),
        ("a${two}b", ["aone", "twob"]),
        ("$two$two", ["one", "twoone", "two"]),
        ("$empty", []),
        ('""', []),
        ("${unset:-1 2}", ["1", "2"]),
        ("a b", ["a", "b"]),
        (r"a\ b", ["a b"]),
        ("'a b'", ["a b"]),
    ],
)
def test_split(text, expected):
    assert split(text, ENV) == expected


def test_the_escape_character_is_the_directives():
    assert expand(r"c:\x`$set", ENV, escape="`") == r"c:\x$set"
    assert expand('"`"\\"', ENV, escape="`") == '"\\'
    # What is escaped in a pattern stays the backslash's matter.
    assert expand(r"${stars%\*}", ENV, escape="`") == "a*b"


def test_nesting_has_an_end():
    with pytest.raises(WordError, match="nested too deep"):
        expand("${x:-" * 5000 + "}" * 5000, {})
    assert expand("${x:-" * 50 + "a" + "}" * 50, {}) == "a"
