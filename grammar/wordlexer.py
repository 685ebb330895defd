"""A word to tokens: what is text, what is hidden by quotes or an escape, where a variable begins and ends. Pure.

It follows BuildKit's shell lexer (shell/lex.go) in every respect, also in what looks odd: `${x#...}` keeps escapes because the
pattern needs them, and `<<` keeps the blanks behind it because they may belong to a here-document's name. Nested expansions are
kept on a stack of our own, so depth has no end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from pybuild.grammar.blanks import name_length
from pybuild.grammar.errors import WordError
from pybuild.grammar.lalr import Token
from pybuild.grammar.source import Source, Span
from pybuild.values import frozen

# Each takes half a kilobyte until the word is made.
_MOST_TOKENS = 200_000
_WORD = re.compile(r"\w*")
_DIGITS = re.compile(r"\d+")
_SPECIAL = "@*#?-$!"
_HEREDOC_BLANKS = re.compile(r"[\t\r ]*")


@frozen
class Mode:
    """How a text is read. `keeps_quotes` and `keeps_escapes` leave them where they are; without `has_quotes` they are text."""

    escape: str = "\\"
    has_quotes: bool = True
    keeps_quotes: bool = False
    keeps_escapes: bool = False


class _Frame:
    """Where the lexer is: up to which character, whether in double quotes, and where this began."""

    __slots__ = ("is_quoted", "keeps_escapes", "opening", "stop")

    def __init__(self, stop: str, keeps_escapes: bool, opening: int, *, is_quoted: bool = False) -> None:
        self.stop = stop
        self.keeps_escapes = keeps_escapes
        self.opening = opening
        self.is_quoted = is_quoted


def wrong(message: str, text: str, start: int, end: int, hint: str | None = None) -> WordError:
    """An error that marks a part of a word."""
    return WordError(message, span=Span(1, start + 1, 1, max(end, start + 1) + 1), source=Source("word", text), hint=hint)


def tokens(text: str, mode: Mode) -> Iterator[Token]:
    """The tokens of a word. Raises WordError."""
    return _WordLexer(text, mode).tokens()


@cache
def _plain(specials: str) -> re.Pattern[str]:
    """A run of characters that mean themselves; `<` does unless there are two."""
    return re.compile(f"(?:[^<{re.escape(specials)}]+|<(?!<))+")


@cache
def _plain_quoted(escape: str) -> re.Pattern[str]:
    """The same in double quotes."""
    return re.compile(f'[^"${re.escape(escape)}]+')


class _WordLexer:
    def __init__(self, text: str, mode: Mode) -> None:
        self._text = text
        self._mode = mode
        # Go's scanner drops a byte order mark.
        self._position = 1 if text.startswith("\ufeff") else 0
        self._count = 0
        self._frames = [_Frame("", mode.keeps_escapes, 0)]

    def _token(self, kind: str, value: str, start: int) -> Token:
        self._count += 1
        if self._count > _MOST_TOKENS:
            raise wrong("a word of too many parts", self._text, start, self._position, f"{_MOST_TOKENS} are the most")
        return Token(kind, value, start_pos=start, end_pos=self._position)

    def _take(self, kind: str, count: int) -> Token:
        start = self._position
        self._position += count
        return self._token(kind, self._text[start : self._position], start)

    def tokens(self) -> Iterator[Token]:
        text = self._text
        while True:
            frame = self._frames[-1]
            if self._position >= len(text):
                if len(self._frames) > 1:
                    raise self._unfinished(frame)
                return
            if frame.is_quoted:
                yield from self._quoted(frame)
            else:
                yield from self._bare(frame)

    def _unfinished(self, frame: _Frame) -> WordError:
        text, start = self._text, frame.opening
        if frame.is_quoted:
            return wrong("a double quote without its end", text, start, len(text), "close it, or escape it")
        if frame.stop == "/":
            hint = "write ${NAME/PATTERN/TEXT}"
            return wrong("${x/ without a second /", text, start, len(text), hint)
        return wrong("${ without a } behind it", text, start, len(text), "close it with }")

    def _bare(self, frame: _Frame) -> Iterator[Token]:
        mode = self._mode
        quotes = "'\"" if mode.has_quotes else ""
        character = self._text[self._position]
        if character == frame.stop:
            yield from self._stopped(frame)
        elif character == "$":
            yield from self._variable()
        elif self._text.startswith("<<", self._position):
            yield self._take("FIXED", self._heredoc())
        elif character == mode.escape:
            yield from self._escaped(frame)
        elif character in quotes:
            if character == "'":
                yield self._single()
            else:
                self._frames.append(_Frame("", frame.keeps_escapes, self._position, is_quoted=True))
                yield self._take("QUOTE", 1)
        else:
            match = _plain("$" + quotes + mode.escape + frame.stop).match(self._text, self._position)
            assert match
            yield self._take("TEXT", match.end() - self._position)

    def _heredoc(self) -> int:
        match = _HEREDOC_BLANKS.match(self._text, self._position + 2)
        assert match
        return match.end() - self._position

    def _escaped(self, frame: _Frame) -> Iterator[Token]:
        start = self._position
        self._position = min(start + 2, len(self._text))
        kept = self._text[start if frame.keeps_escapes else start + 1 : self._position]
        if kept:
            yield self._token("FIXED", kept, start)

    def _single(self) -> Token:
        start = self._position
        end = self._text.find("'", start + 1)
        if end < 0:
            raise wrong("a single quote without its end", self._text, start, len(self._text), "close it, or escape it")
        self._position = end + 1
        inside = self._text[start : end + 1] if self._mode.keeps_quotes else self._text[start + 1 : end]
        return self._token("FIXED", inside, start)

    def _quoted(self, frame: _Frame) -> Iterator[Token]:
        text, escape = self._text, self._mode.escape
        character = text[self._position]
        if character == '"':
            self._frames.pop()
            yield self._take("QUOTE", 1)
        elif character == "$":
            yield from self._variable()
        elif character == escape:
            start = self._position
            following = text[start + 1 : start + 2]
            if not following:
                raise self._unfinished(frame)
            kept = character if frame.keeps_escapes else ""
            if following in ('"', "$", escape):
                self._position += 2
                yield self._token("TEXT", kept + following, start)
            else:
                self._position += 1
                yield self._token("TEXT", kept + character, start)
        else:
            match = _plain_quoted(escape).match(text, self._position)
            assert match
            yield self._take("TEXT", match.end() - self._position)

    def _name_end(self, start: int) -> int:
        """Where a name ends: digits, one special character, or letters, digits and underscores."""
        text = self._text
        if match := _DIGITS.match(text, start):
            return match.end()
        if text[start : start + 1] and text[start] in _SPECIAL:
            return start + 1
        match = _WORD.match(text, start)
        assert match
        return start + name_length(match[0])

    def _variable(self) -> Iterator[Token]:
        text, start = self._text, self._position
        if not text.startswith("${", start):
            end = self._name_end(start + 1)
            self._position = end
            yield self._token("NAME", text[start + 1 : end], start) if end > start + 1 else self._token("TEXT", "$", start)
            return
        if text[start + 2 : start + 3] in ("", "{", "}", ":"):
            hint = "write ${NAME}, or \\${ for the text itself"
            raise wrong("${ without a name behind it", text, start, start + 2, hint)
        end = self._name_end(start + 2)
        yield self._take("OPEN", 2)
        self._position = end
        yield self._token("NAME", text[start + 2 : end], start + 2)
        if text.startswith("}", end):
            yield self._take("CLOSE", 1)
        else:
            yield from self._modifier(start, end)

    def _modifier(self, opening: int, start: int) -> Iterator[Token]:
        text = self._text
        modifier = text[start : start + 1]
        if not modifier:
            raise wrong("${ without a } behind it", text, opening, len(text), "close it with }")
        if modifier == "/" or modifier == ":":
            # Which of the forms with a colon there are is not known here: a here-document's line may have any.
            modifier = text[start : start + 2] if modifier == ":" or text.startswith("//", start) else modifier
        if modifier[0] not in ":+-?#%/" or modifier in (":#", ":%"):
            hint = "there are :- - :+ + :? ? # ## % %% / //"
            raise wrong(f"unknown modifier {text[start : start + 2]!r}", text, start, start + 2, hint)
        yield self._take("MODIFIER", len(modifier))
        is_pattern = modifier[0] in "#%/"
        self._frames.append(_Frame("/" if modifier[0] == "/" else "}", is_pattern, opening))

    def _stopped(self, frame: _Frame) -> Iterator[Token]:
        self._frames.pop()
        if frame.stop == "/":
            yield self._take("SLASH", 1)
            self._frames.append(_Frame("}", True, frame.opening))
        else:
            yield self._take("CLOSE", 1)
