"""Words: quotes, escapes and every form of expansion, and the errors of those that are malformed."""

from __future__ import annotations

import pytest

from pybuild.grammar import WordError, expand, split
from pybuild.grammar.words import expand_text

ENV = {
    "set": "value",
    "empty": "",
    "file": "lib.so.1",
    "path": "/a/b/c",
    "stars": "a*b*",
    "two": "one two",
    "lines": "up\ndown",
    "cut": "%.*",
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
        ("${lines//*/X}", "X\nX"),
        ("${lines/d*n/X}", "up\nX"),
        ("${lines//p*n/X}", "up\ndown"),
        ("${path//a*b/X}", "/X/c"),
        # The text of // is a template.
        ("${file//l?b/[\\$0]}", "[\\lib].so.1"),
        ("${file/l?b/\\$0}", "\\$0.so.1"),
        ("${file//l?b/[\\$²\\$0²\\$$\\$00\\$x]}", "[\\$²\\lib²\\$\\\\].so.1"),
        # A name may be empty, and is never set.
        ("${+w}", ""),
        ("${/a/b}", ""),
        ("${-}", ""),
        ("$²", "$²"),
        # A byte order mark is no text.
        ("\ufeff$set", "value"),
        ("\ufeffx", "x"),
        # The longest is asked for by a pattern that begins with the mark, wherever it comes from.
        ("${file%$cut}", "lib"),
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
        ("${a//}", "${x/ without a second /", "${a//}"),
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
        ("a\u3000b\x1cc", ["a", "b\x1cc"]),
        # What stands before a modifier in the same word is lost: BuildKit's buffer.
        ("a${unset:-b}c", ["bc"]),
        ("x a${set#v}", ["x", "alue"]),
        ('a"b${unset:-c}"', ["bc"]),
        # Blanks behind << belong to the word.
        ("cat <<  a < b", ["cat", "<<  a", "<", "b"]),
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


def test_nesting_has_no_end():
    depth = 2_000
    assert expand("${x:-" * depth + "a" + "}" * depth, {}) == "a"
    assert expand('"${x:-' * depth + "a" + '}"' * depth, {}) == "a"
    with pytest.raises(WordError, match="without a } behind it"):
        expand("${x:-" * depth, {})


def test_the_body_of_a_here_document_keeps_its_quotes():
    assert expand_text("it's \"$set\" \\$set ${unset:-'x'}\n", ENV) == "it's \"value\" $set 'x'\n"


@pytest.mark.parametrize(
    "text", ["${long%%a*a*a*a*a*a*a*b}", "${long//a*b/x}", "${long//a*a*a*a*a*a*a*a*b/x}", "${long##*a*a*a*b*a}"]
)
def test_a_pattern_takes_linear_time(text):
    value = "a" * 100_000
    assert expand(text, {"long": value}) == value


def test_a_pattern_without_end_is_an_error():
    with pytest.raises(WordError, match="a pattern that is too long"):
        expand("${long#" + "?" * 10_000 + "x}", {"long": "a" * 100_000})
