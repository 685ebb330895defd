"""The first pass over a Dockerfile: directives, comments, continuations and here-documents; what is left is one line for
each instruction, with a map back to the text. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from pybuild.grammar.errors import DockerfileError
from pybuild.grammar.instructions import Heredoc
from pybuild.grammar.source import Source, Span

_DIRECTIVE = re.compile(r"^\s*#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*$")
_DIRECTIVES = ("syntax", "escape", "check")
_HEREDOC = re.compile(r"\d*<<(-?)\s*([^<]+)\Z", re.DOTALL)
_WITH_HEREDOCS = ("RUN", "COPY", "ADD")


@dataclass(frozen=True, slots=True)
class Line:
    """An instruction on one line. `starts` and `places` map offsets in `text` to lines and columns of the source."""

    text: str
    starts: tuple[int, ...]
    places: tuple[tuple[int, int], ...]
    heredocs: tuple[Heredoc, ...]
    last_line: int

    def place(self, offset: int) -> tuple[int, int]:
        """The 1-based line and column of a character."""
        part = bisect_right(self.starts, offset) - 1
        line, column = self.places[part]
        return line, column + offset - self.starts[part]

    def span(self, start: int, end: int) -> Span:
        """The span of a part of the text."""
        line, column = self.place(start)
        end_line, end_column = self.place(max(start, end - 1))
        return Span(line, column, end_line, end_column + (end > start))


@dataclass(frozen=True, slots=True)
class Lines:
    """All instructions of a source, its directives, and what is wrong with them as far as lines go."""

    lines: tuple[Line, ...]
    directives: tuple[tuple[str, str], ...]
    errors: tuple[DockerfileError, ...]

    @property
    def escape(self) -> str:
        """The escape character."""
        return dict(self.directives).get("escape", "\\")


def split_lines(source: Source) -> Lines:
    """The lines of a source. Behind a here-document without its end there are none."""
    physical = source.text.split("\n")
    errors: list[DockerfileError] = []
    for number, text in enumerate(physical, 1):
        if (place := text.find("\0") + 1) > 0:
            hint = "remove it: no path, variable or command can have one; is this a text file?"
            span = Span(number, place, number, place + 1)
            return Lines((), (), (DockerfileError("a NUL character", span=span, source=source, hint=hint),))
    directives = _directives(source, physical, errors)
    escape = dict(directives).get("escape", "\\")
    lines = []
    try:
        for line in _instructions(source, physical, escape):
            lines.append(line)
    except DockerfileError as error:
        errors.append(error)
    return Lines(tuple(lines), directives, tuple(errors))


def _directives(source: Source, physical: list[str], errors: list[DockerfileError]) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for number, text in enumerate(physical, 1):
        match = _DIRECTIVE.match(text)
        name = match[1].lower() if match else ""
        if match is None or name not in _DIRECTIVES:
            break
        span = Span(number, 1, number, len(text) + 1)
        if name in found:
            errors.append(DockerfileError(f"the directive {name} twice", span=span, source=source, hint="remove one of them"))
        elif name == "escape" and match[2] not in ("\\", "`"):
            hint = "it is \\ or `"
            errors.append(DockerfileError(f"no such escape character: {match[2]}", span=span, source=source, hint=hint))
        else:
            found[name] = match[2]
    return tuple(found.items())


def _instructions(source: Source, physical: list[str], escape: str) -> Iterator[Line]:
    number = 0
    continues = re.compile(rf"(?:^|[^{re.escape(escape)}])(?P<cut>{re.escape(escape)}[ \t]*)$")
    while number < len(physical):
        text = physical[number]
        if not text.strip() or text.lstrip().startswith("#"):
            number += 1
            continue
        parts: list[str] = []
        starts: list[int] = []
        places: list[tuple[int, int]] = []
        length = 0
        while True:
            skipped = len(text) - len(text.lstrip()) if not parts else 0
            match = continues.search(text)
            part = text[skipped : match.start("cut")] if match else text[skipped:]
            if not match:
                part = part.rstrip()
            starts.append(length)
            places.append((number + 1, skipped + 1))
            parts.append(part)
            length += len(part)
            number += 1
            if not match:
                break
            while number < len(physical) and (not physical[number].strip() or physical[number].lstrip().startswith("#")):
                number += 1
            if number >= len(physical):
                break
            text = physical[number]
        joined = "".join(parts)
        if not joined.strip():
            continue
        line = Line(joined, tuple(starts), tuple(places), (), number)
        heredocs, number = _heredocs(source, physical, line, number)
        yield Line(joined, line.starts, line.places, heredocs, number)


def _heredocs(source: Source, physical: list[str], line: Line, number: int) -> tuple[tuple[Heredoc, ...], int]:
    words = line.text.split(None, 2)
    keyword = words[1] if words[0].upper() == "ONBUILD" and len(words) > 1 else words[0]
    if keyword.upper() not in _WITH_HEREDOCS or "<<" not in line.text:
        return (), number
    found = []
    for named in heredoc_names(line.text):
        body = []
        while True:
            if number >= len(physical):
                raise DockerfileError(
                    f"the here-document {named.name} has no end",
                    span=line.span(named.start, named.end),
                    source=source,
                    hint=f"put a line with {named.name} alone behind it",
                )
            text = physical[number].lstrip("\t") if named.chomp else physical[number]
            number += 1
            if text.rstrip("\r") == named.name:
                break
            body.append(text + "\n")
        span = line.span(named.start, named.end)
        found.append(Heredoc(named.name, "".join(body), named.expand, named.chomp, span))
    return tuple(found), number


@dataclass(frozen=True, slots=True)
class HeredocName:
    """`<<NAME` in a line: where it stands, and what it says."""

    start: int
    end: int
    name: str
    expand: bool
    chomp: bool


def heredoc_names(text: str) -> list[HeredocName]:
    """The here-documents that a line names: words of their own that begin with `<<`, or a number and `<<`.

    A line with a quote that is not closed names none. Source: BuildKit, parser.go and shell/lex.go.
    """
    found = []
    for start, end in _shell_words(text):
        match = _HEREDOC.match(text[start:end])
        if match is None:
            continue
        name = _unquoted(match[2])
        quotes = sum(match[2].count(quote) - name.count(quote) for quote in "\"'")
        if name:
            found.append(HeredocName(start, end, name, quotes == 0, bool(match[1])))
    return found


def _shell_words(text: str) -> list[tuple[int, int]]:
    """Words between blanks that no quote or backslash hides; blanks right behind `<<` belong to the word."""
    found: list[tuple[int, int]] = []
    start, position, quote = -1, 0, ""
    while position < len(text):
        character = text[position]
        if not quote and character.isspace():
            if start >= 0:
                found.append((start, position))
            start = -1
        else:
            start = position if start < 0 else start
            if character == "\\" and quote != "'":
                position += 1
            elif quote:
                quote = "" if character == quote else quote
            elif character in "\"'":
                quote = character
            elif text.startswith("<<", position):
                position += 1
                while text[position + 1 : position + 2] in (" ", "\t"):
                    position += 1
        position += 1
    if start >= 0:
        found.append((start, len(text)))
    return [] if quote else found


def _unquoted(word: str) -> str:
    kept, quote, position = "", "", 0
    while position < len(word):
        character = word[position]
        if character == "\\" and quote != "'":
            following = word[position + 1 : position + 2]
            kept += following if not quote or following in '"$\\' else character + following
            position += 1
        elif character == quote or (not quote and character in "\"'"):
            quote = "" if quote else character
        else:
            kept += character
        position += 1
    return kept
