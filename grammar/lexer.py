"""Lines to tokens: how the rest of an instruction's line falls into pieces depends on its keyword, and stands in FORMS."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from pybuild.grammar.errors import DockerfileError
from pybuild.grammar.lalr import Token
from pybuild.grammar.lines import Line, heredoc_names
from pybuild.grammar.source import Source

_BLANKS = " \t\v\f\r"
_NOT_BEHIND_ONBUILD = ("ONBUILD", "FROM", "MAINTAINER")


class LineLexer:
    """The tokens of one line. Each is a lark token whose `start_pos` and `end_pos` are offsets in the line."""

    def __init__(self, source: Source, line: Line, escape: str) -> None:
        self.source = source
        self.line = line
        self.text = line.text.rstrip()
        self.escape = escape
        self.position = 0

    def tokens(self, *, is_trigger: bool = False) -> Iterator[Token]:
        """All tokens, END last. Raises DockerfileError for a keyword that is none, or may not be ONBUILD's trigger."""
        self._skip()
        start = self.position
        while self.position < len(self.text) and self.text[self.position] not in _BLANKS:
            self.position += 1
        word = self.text[start : self.position]
        keyword = word.upper()
        if keyword not in FORMS:
            from difflib import get_close_matches

            close = get_close_matches(keyword, FORMS, 1)
            hint = f"did you mean {close[0]}?" if close else "a line starts with an instruction, such as RUN or COPY"
            raise self.wrong(f"unknown instruction: {word}", start, self.position, hint)
        if is_trigger and keyword in _NOT_BEHIND_ONBUILD:
            hint = "put it into the Dockerfile that uses this image"
            raise self.wrong(f"ONBUILD {keyword} is not allowed", start, len(self.text), hint)
        yield self.token(keyword, start, self.position)
        if keyword == "ONBUILD":
            self._skip()
            if self.position == len(self.text):
                raise self.wrong("ONBUILD without an instruction", start, self.position, "write ONBUILD RUN ...")
            yield from self.tokens(is_trigger=True)
            return
        yield from self._flags()
        yield from FORMS[keyword](self)
        yield self.token("END", len(self.text), len(self.text))

    def token(self, kind: str, start: int, end: int) -> Token:
        line, column = self.line.place(start)
        return Token(kind, self.text[start:end], start_pos=start, line=line, column=column, end_pos=end)

    def wrong(self, message: str, start: int, end: int, hint: str | None = None) -> DockerfileError:
        return DockerfileError(message, span=self.line.span(start, end), source=self.source, hint=hint)

    def _skip(self) -> None:
        while self.position < len(self.text) and self.text[self.position] in _BLANKS:
            self.position += 1

    def _flags(self) -> Iterator[Token]:
        self._skip()
        while self.text.startswith("--", self.position):
            start = self.position
            end = self._quoted_word()
            if self.text[start:end] == "--":
                self._skip()
                return
            yield self.token("FLAG", start, end)
            self._skip()

    def _quoted_word(self) -> int:
        """Move behind a word in which quotes and escapes hide blanks."""
        quote = ""
        while self.position < len(self.text):
            character = self.text[self.position]
            if character == self.escape and quote != "'":
                self.position += 1
            elif quote:
                quote = "" if character == quote else quote
            elif character in "\"'":
                quote = character
            elif character in _BLANKS:
                break
            self.position += 1
        self.position = min(self.position, len(self.text))
        return self.position

    def _plain_words(self) -> Iterator[tuple[int, int]]:
        self._skip()
        while self.position < len(self.text):
            start = self.position
            while self.position < len(self.text) and self.text[self.position] not in _BLANKS:
                self.position += 1
            yield start, self.position
            self._skip()

    def _rest(self) -> tuple[int, int]:
        self._skip()
        start, self.position = self.position, len(self.text)
        return start, self.position

    # Forms

    def words(self) -> Iterator[Token]:
        """Words between blanks."""
        for start, end in self._plain_words():
            yield self.token("WORD", start, end)

    def from_words(self) -> Iterator[Token]:
        """An image, and a name behind AS."""
        for place, (start, end) in enumerate(self._plain_words()):
            is_as = place == 1 and self.text[start:end].upper() == "AS"
            yield self.token("AS" if is_as else "WORD", start, end)

    def json_or_words(self) -> Iterator[Token]:
        """A JSON array of texts, or words."""
        yield from self._json() or self.words()

    def json_or_text(self) -> Iterator[Token]:
        """A JSON array of texts, or one text up to the line's end."""
        if tokens := self._json():
            yield from tokens
            return
        yield from self.whole("TEXT")

    def run(self) -> Iterator[Token]:
        """A command, and the here-documents that it names."""
        yield from self.json_or_text()
        for named in heredoc_names(self.text):
            yield self.token("HEREDOC", named.start, named.end)

    def copy(self) -> Iterator[Token]:
        """Paths, or here-documents in place of sources."""
        if tokens := self._json():
            yield from tokens
            return
        named = {heredoc.start: heredoc.end for heredoc in heredoc_names(self.text)}
        for start, end in self._plain_words():
            self.position = named.get(start, end)
            yield self.token("HEREDOC" if start in named else "WORD", start, self.position)

    def whole(self, kind: str = "WORD") -> Iterator[Token]:
        """One text up to the line's end."""
        start, end = self._rest()
        if end > start:
            yield self.token(kind, start, end)

    def pairs(self) -> Iterator[Token]:
        """`name=value ...`, or `name` and the rest of the line."""
        self._skip()
        start = self.position
        end = self._quoted_word()
        if "=" not in self.text[start:end]:
            self.position = start
            for start, end in self._plain_words():
                self._skip()
                if self.position == len(self.text):
                    raise self._without_value(start, end)
                yield self.token("LEGACY", start, end)
                yield from self.whole()
            return
        while end > start:
            if "=" not in self.text[start:end]:
                raise self._without_value(start, end)
            yield from self._pair(start, end)
            self._skip()
            start = self.position
            end = self._quoted_word()

    def _without_value(self, start: int, end: int) -> DockerfileError:
        return self.wrong(f"{self.text[start:end]} without a value", start, end, f"write {self.text[start:end]}=VALUE")

    def definitions(self) -> Iterator[Token]:
        """`name` or `name=value`, several of them."""
        self._skip()
        while self.position < len(self.text):
            start = self.position
            yield from self._pair(start, self._quoted_word())
            self._skip()

    def _pair(self, start: int, end: int) -> Iterator[Token]:
        equals = self.text.find("=", start, end)
        yield self.token("NAME", start, end if equals < 0 else equals)
        if equals >= 0:
            yield self.token("EQUALS", equals, equals + 1)
            yield self.token("WORD", equals + 1, end)

    def probe(self) -> Iterator[Token]:
        """NONE, or CMD and a command."""
        for start, end in self._plain_words():
            word = self.text[start:end].upper()
            if word not in ("NONE", "CMD"):
                raise self.wrong(f"unknown kind of HEALTHCHECK: {self.text[start:end]}", start, end, "write CMD COMMAND, or NONE")
            yield self.token("NONE" if word == "NONE" else "PROBE", start, end)
            if word == "CMD":
                yield from self.json_or_text()
                return

    def _json(self) -> list[Token]:
        start = self.position
        text = self.text[start:].strip()
        if not text.startswith("["):
            return []
        try:
            values = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return []
        if not all(isinstance(value, str) for value in values):
            hint = 'put each word in double quotes, such as ["a", "1"]'
            raise self.wrong("the JSON form takes texts and nothing else", start, len(self.text), hint)
        self.position = len(self.text)
        return [self.token("JSON", start, len(self.text))]


def _no_constant(name: str) -> object:
    # Python reads NaN and Infinity; JSON has neither.
    raise ValueError(name)


FORMS: dict[str, Callable[[LineLexer], Iterator[Token]]] = {
    "ADD": LineLexer.copy,
    "ARG": LineLexer.definitions,
    "CMD": LineLexer.json_or_text,
    "COPY": LineLexer.copy,
    "ENTRYPOINT": LineLexer.json_or_text,
    "ENV": LineLexer.pairs,
    "EXPOSE": LineLexer.words,
    "FROM": LineLexer.from_words,
    "HEALTHCHECK": LineLexer.probe,
    "LABEL": LineLexer.pairs,
    "MAINTAINER": LineLexer.whole,
    "ONBUILD": LineLexer.words,
    "RUN": LineLexer.run,
    "SHELL": LineLexer.json_or_text,
    "STOPSIGNAL": LineLexer.whole,
    "USER": LineLexer.whole,
    "VOLUME": LineLexer.json_or_words,
    "WORKDIR": LineLexer.whole,
}
