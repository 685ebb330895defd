"""Lines to tokens: how the rest of an instruction's line falls into pieces depends on its keyword, and stands in FORMS.

It splits as BuildKit's parser does (parser/line_parsers.go), which reads some instructions by blanks alone and others by quotes
and escapes too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache

from pybuild.grammar.blanks import BLANKS, SPACES
from pybuild.grammar.errors import DockerfileError
from pybuild.grammar.heads import NotTextsError, json_words, split_head
from pybuild.grammar.lalr import Token
from pybuild.grammar.lines import Line
from pybuild.grammar.source import Source

# Each takes half a kilobyte until the instruction is made.
_MOST_TOKENS = 99_999
_PLAIN_WORD = re.compile(f"[^{BLANKS}]+")
_FIRST_WORD = re.compile(f"[^{SPACES}]+")
_BLANK = re.compile(f"[{BLANKS}]+")


@cache
def _marks(escape: str) -> re.Pattern[str]:
    """What a word in which quotes hide blanks has to be looked at for."""
    return re.compile(f"[{SPACES}'\"{re.escape(escape)}]")


class LineLexer:
    """The tokens of one instruction. Each is a lark token whose `start_pos` and `end_pos` are offsets in the line.

    `args` are the raw words as the language splits them, and `json` those of the JSON form, once `tokens` is through. `start`
    is where the instruction begins in the line: behind ONBUILD it is not the line's start.
    """

    def __init__(self, source: Source, line: Line, escape: str, start: int = 0, end: int | None = None) -> None:
        self.source = source
        self.line = line
        self.escape = escape
        self.text = line.text
        self.head = split_head(line.text, start, len(line.text) if end is None else end, escape)
        # Of two ways to spell a letter only the ASCII one is upper-cased again.
        lower = self.head.keyword.lower()
        self.keyword = lower.upper() if lower.isascii() else lower
        self.original = line.text if end is None else line.text[self.head.start : self.head.end]
        self.position = self.head.rest
        self.end = self.head.end
        self.args: list[str] = []
        self.json: tuple[str, ...] | None = None

    def tokens(self) -> Iterator[Token]:
        """All tokens but flags, END last, of an instruction that FORMS has. Raises DockerfileError."""
        start = self.head.start
        yield self.token(self.keyword, start, start + len(self.head.keyword))
        for count, token in enumerate(FORMS[self.keyword](self)):
            if count == _MOST_TOKENS:
                message = f"{self.keyword} with more than {_MOST_TOKENS // 3} words"
                raise self.wrong(message, start, start + len(self.keyword), "split it into several")
            yield token
        yield self.token("END", self.end, self.end)

    def token(self, kind: str, start: int, end: int) -> Token:
        return Token(kind, self.text[start:end], start_pos=start, end_pos=end)

    def wrong(self, message: str, start: int, end: int, hint: str | None = None) -> DockerfileError:
        return DockerfileError(message, span=self.line.span(start, end), source=self.source, hint=hint)

    def _arg(self, kind: str, start: int, end: int) -> Token:
        token = self.token(kind, start, end)
        self.args.append(str(token))
        return token

    def _plain_words(self) -> Iterator[tuple[int, int]]:
        for match in _PLAIN_WORD.finditer(self.text, self.position, self.end):
            yield match.span()

    def _quoted_words(self) -> Iterator[tuple[int, int]]:
        """Words in which quotes and escapes hide blanks. An escape with nothing behind it is dropped."""
        text, end = self.text, self.end
        position = self.position
        marks = _marks(self.escape)
        while match := _FIRST_WORD.search(text, position, end):
            start = position = match.start()
            kept = end
            while position < end and (mark := marks.search(text, position, end)):
                position = mark.start()
                if mark[0] == self.escape:
                    position += 2
                    kept = end - (position > end)
                elif mark[0] == "'":
                    close = text.find("'", position + 1, end)
                    position = end if close < 0 else close + 1
                elif mark[0] == '"':
                    position = self._behind_quote(position)
                    kept = end - (position > end)
                else:
                    kept = position
                    break
            else:
                position = end
            if kept > start:
                yield start, kept

    def _behind_quote(self, position: int) -> int:
        """The place behind a double quote's end; behind the text's end when its last character is an escape."""
        position += 1
        while position < self.end:
            character = self.text[position]
            position += 1
            if character == '"':
                return position
            position += character == self.escape
        return position

    # Forms

    def words(self) -> Iterator[Token]:
        """Words between blanks."""
        for start, end in self._plain_words():
            yield self._arg("WORD", start, end)

    def from_words(self) -> Iterator[Token]:
        """An image, and a name behind AS."""
        for place, (start, end) in enumerate(self._plain_words()):
            is_as = place == 1 and self.text[start:end].lower() == "as"
            yield self._arg("AS" if is_as else "WORD", start, end)

    def json_or_words(self) -> Iterator[Token]:
        """A JSON array of texts, or words between blanks."""
        yield from self._json() or self.words()

    def json_or_text(self) -> Iterator[Token]:
        """A JSON array of texts, or one text up to the line's end."""
        yield from self._json() or self.whole("TEXT")

    def whole(self, kind: str = "WORD") -> Iterator[Token]:
        """One text up to the line's end."""
        if self.end > self.position:
            yield self._arg(kind, self.position, self.end)

    def pairs(self) -> Iterator[Token]:
        """`name=value ...`, or `name` and the rest of the line."""
        first = next(self._quoted_words(), None)
        if first and "=" not in self.text[first[0] : first[1]]:
            blank = _BLANK.search(self.text, self.position, self.end)
            if blank is None:
                raise self._without_value(*first)
            yield self._arg("LEGACY", self.position, blank.start())
            yield self._arg("WORD", blank.end(), self.end)
            return
        for start, end in self._quoted_words():
            equals = self.text.find("=", start, end)
            if equals < 0:
                raise self._without_value(start, end)
            yield self._arg("NAME", start, equals)
            yield self.token("EQUALS", equals, equals + 1)
            yield self._arg("WORD", equals + 1, end)

    def _without_value(self, start: int, end: int) -> DockerfileError:
        return self.wrong(f"{self.text[start:end]} without a value", start, end, f"write {self.text[start:end]}=VALUE")

    def definitions(self) -> Iterator[Token]:
        """`name` or `name=value`, several of them."""
        for start, end in self._quoted_words():
            self.args.append(self.text[start:end])
            equals = self.text.find("=", start, end)
            yield self.token("NAME", start, end if equals < 0 else equals)
            if equals >= 0:
                yield self.token("EQUALS", equals, equals + 1)
                yield self.token("WORD", equals + 1, end)

    def probe(self) -> Iterator[Token]:
        """NONE or CMD, and a command."""
        match = _FIRST_WORD.search(self.text, self.position, self.end)
        if match is None:
            return
        yield self._arg("KIND", *match.span())
        self.position = match.end()
        while self.position < self.end and self.text[self.position] in SPACES:
            self.position += 1
        yield from self.json_or_text()

    def _json(self) -> list[Token]:
        start, end = self.position, self.end
        try:
            self.json = json_words(self.text[start:end]) if self.text.startswith("[", start) else None
        except NotTextsError:
            hint = 'put each word in double quotes, such as ["a", "1"]'
            raise self.wrong("the JSON form takes texts and nothing else", start, end, hint) from None
        if self.json is None:
            return []
        self.args += self.json
        return [self.token("JSON", start, end)]


FORMS: dict[str, Callable[[LineLexer], Iterator[Token]]] = {
    "ADD": LineLexer.json_or_words,
    "ARG": LineLexer.definitions,
    "CMD": LineLexer.json_or_text,
    "COPY": LineLexer.json_or_words,
    "ENTRYPOINT": LineLexer.json_or_text,
    "ENV": LineLexer.pairs,
    "EXPOSE": LineLexer.words,
    "FROM": LineLexer.from_words,
    "HEALTHCHECK": LineLexer.probe,
    "LABEL": LineLexer.pairs,
    "MAINTAINER": LineLexer.whole,
    "ONBUILD": LineLexer.whole,
    "RUN": LineLexer.json_or_text,
    "SHELL": LineLexer.json_or_text,
    "STOPSIGNAL": LineLexer.whole,
    "USER": LineLexer.whole,
    "VOLUME": LineLexer.json_or_words,
    "WORKDIR": LineLexer.whole,
}
