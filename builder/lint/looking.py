"""Expanding a word while noting which names it asked for, and guessing what a wrong name was meant to be. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from pybuild.grammar import DockerfileError, Span, expand, split
from pybuild.grammar.instructions import Heredoc, Word
from pybuild.grammar.words import expand_text
from pybuild.values import frozen

_CLOSE = 3


class Noting(Mapping[str, str]):
    """Variables that note which of them were asked for, and which names were asked for in vain."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.found: dict[str, None] = {}
        self.missed: dict[str, None] = {}

    def __getitem__(self, name: str) -> str:
        (self.found if name in self._variables else self.missed)[name] = None
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


@frozen
class Looked:
    """A word's value, None when it has none, and the names that it asked for."""

    word: Word
    value: str | None
    found: tuple[str, ...]
    missed: tuple[str, ...]

    def place(self, name: str) -> Span:
        """Where the word asks for a name: the whole word when that cannot be told."""
        return variable_place(self.word, name)


def look(word: Word, variables: Mapping[str, str], escape: str, *, is_raw: bool = False) -> Looked:
    """Expand a word; `is_raw` leaves quotes alone, as in a here-document."""
    noting = Noting(variables)
    value: str | None
    try:
        value = expand_text(word.text, noting) if is_raw else expand(word.text, noting, escape=escape)
    except DockerfileError:
        # What is wrong with it is the plan's to say.
        value = None
    return Looked(word, value, tuple(noting.found), tuple(noting.missed))


def look_split(word: Word, variables: Mapping[str, str], escape: str) -> tuple[str, ...]:
    """The words that one of EXPOSE becomes; none when it has no value."""
    try:
        return tuple(split(word.text, variables, escape=escape))
    except DockerfileError:
        return ()


def variable_place(word: Word, name: str) -> Span:
    """The part of a word that names a variable."""
    span = word.span
    match = _use(word.text, name)
    if match is None or span.line != span.end_line or span.end_column - span.column != len(word.text):
        return span
    return Span(span.line, span.column + match.start(), span.line, span.column + match.end())


def body_place(heredoc: Heredoc, first: int, name: str, text: tuple[str, ...]) -> Span:
    """The part of a here-document's body that names a variable; `first` is the body's first line, `text` the file's lines."""
    for number, line in enumerate(text[first - 1 : first - 1 + heredoc.content.count("\n")], first):
        if match := _use(line, name):
            return Span(number, match.start() + 1, number, match.end() + 1)
    return heredoc.span


def _use(text: str, name: str) -> re.Match[str] | None:
    plain = re.escape(name)
    return re.search(rf"(?<![\\\\`])\$(?:{plain}(?!\w)|\{{{plain}(?!\w)[^}}]*\}}?)", text)


def close_to(name: str, others: Iterable[str]) -> str | None:
    """The name that was probably meant: at most two letters off. None when the name itself is there."""
    best, distance = None, _CLOSE
    for other in others:
        if other == name:
            return None
        # Far apart in length is far apart.
        if abs(len(other) - len(name)) < distance and (steps := _distance(name, other)) < distance:
            best, distance = other, steps
    return best


def _distance(first: str, second: str) -> int:
    """How many letters have to be put in, taken out or changed."""
    row = list(range(len(second) + 1))
    for place, letter in enumerate(first, 1):
        before, row[0] = row[0], place
        for column, other in enumerate(second, 1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (letter != other))
    return row[-1]
