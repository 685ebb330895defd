"""The head of an instruction's line: its keyword, its flags, and where the rest begins. Pure.

Quotes and escapes go out of flags before anybody else sees them, as in BuildKit (parser/split_command.go), which makes
`--chown='$x'` a variable.
"""

from __future__ import annotations

import json
import math
import re
from functools import cache

from pybuild.grammar.blanks import BLANKS, SPACES
from pybuild.values import frozen

_BLANK = re.compile(f"[{BLANKS}]+")
_BREAKS = BLANKS + "\n"
_SURROGATES = re.compile("[\ud800-\udfff]")


@frozen
class RawFlag:
    """A flag: `text` without quotes and escapes, and the offsets of what is written."""

    text: str
    start: int
    end: int


@frozen
class Head:
    """A line's first part. The rest is `text[rest:end]`, without blanks around it; `start` is the keyword's offset."""

    keyword: str
    start: int
    flags: tuple[RawFlag, ...]
    rest: int
    end: int


def split_head(text: str, start: int, end: int, escape: str) -> Head:
    """The head of the instruction in `text[start:end]`."""
    start, end = _stripped(text, start, end)
    blank = _BLANK.search(text, start, end)
    if blank is None:
        return Head(text[start:end], start, (), end, end)
    flags: list[RawFlag] = []
    position = blank.end()
    while True:
        while position < end and text[position] in _BREAKS:
            position += 1
        if not text.startswith("--", position, end):
            break
        flag = _flag(text, position, end, escape)
        position = flag.end
        if flag.text == "--":
            break
        flags.append(flag)
    rest, end = _stripped(text, position, end)
    return Head(text[start : blank.start()], start, tuple(flags), rest, end)


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start] in SPACES:
        start += 1
    while start < end and text[end - 1] in SPACES:
        end -= 1
    return start, end


@cache
def _plain(escape: str) -> re.Pattern[str]:
    """A flag without quotes and escapes, which is nearly every one."""
    return re.compile(f"[^{_BREAKS}'\"{re.escape(escape)}]*")


def _flag(text: str, start: int, end: int, escape: str) -> RawFlag:
    plain = _plain(escape).match(text, start, end)
    if plain and (plain.end() == end or text[plain.end()] in _BREAKS):
        return RawFlag(plain[0], start, plain.end())
    parts: list[str] = []
    quote = ""
    position = start
    while position < end:
        character = text[position]
        position += 1
        if character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
        elif not quote and character in _BREAKS:
            position -= 1
            break
        elif character == escape:
            # Also between single quotes; and with nothing behind it, it is nothing.
            parts.append(text[position : min(position + 1, end)])
            position += 1
        else:
            parts.append(character)
    return RawFlag("".join(parts), start, min(position, end))


class NotTextsError(ValueError):
    """A JSON array with something else than texts in it."""


def json_words(text: str) -> tuple[str, ...] | None:
    """The texts of the JSON form; None for what is no JSON array. Raises NotTextsError."""
    text = text.strip(SPACES)
    if not text.startswith("["):
        return None
    try:
        values = json.loads(text, parse_constant=_no_constant, parse_float=_number, parse_int=_number)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(value, str) for value in values):
        raise NotTextsError
    # Half of a surrogate pair is no character: Go reads U+FFFD, and so do we.
    return tuple(_SURROGATES.sub("\ufffd", value) for value in values)


def _no_constant(name: str) -> object:
    # Python reads NaN and Infinity; JSON has neither.
    raise ValueError(name)


def _number(text: str) -> float:
    # Go does not read a number that no float can hold, and then this is no JSON.
    if math.isinf(number := float(text)):
        raise ValueError(text)
    return number
