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

_DIRECTIVE = re.compile(r"^#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*$")
_DIRECTIVES = ("syntax", "escape", "check")
_HEREDOC = re.compile(r"(?<!<)<<(-?)\s*([\"']?)([A-Za-z_][A-Za-z0-9_.]*)\2(?=\s|$|[;&|>)])")
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
    """All instructions of a source, and its directives."""

    lines: tuple[Line, ...]
    directives: tuple[tuple[str, str], ...]

    @property
    def escape(self) -> str:
        """The escape character."""
        return dict(self.directives).get("escape", "\\")


def split_lines(source: Source) -> Lines:
    """The lines of a source. Raises DockerfileError."""
    physical = source.text.split("\n")
    directives = _directives(source, physical)
    escape = dict(directives).get("escape", "\\")
    return Lines(tuple(_instructions(source, physical, escape)), directives)


def _directives(source: Source, physical: list[str]) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for number, text in enumerate(physical, 1):
        match = _DIRECTIVE.match(text)
        name = match[1].lower() if match else ""
        if match is None or name not in _DIRECTIVES:
            break
        span = Span(number, 1, number, len(text) + 1)
        if name in found:
            raise DockerfileError(f"the directive {name} twice", span=span, source=source, hint="remove one of them")
        if name == "escape" and match[2] not in ("\\", "`"):
            raise DockerfileError(f"no such escape character: {match[2]}", span=span, source=source, hint="it is \\ or `")
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
    for match in _HEREDOC.finditer(line.text):
        if _is_quoted(line.text, match.start()):
            continue
        name, chomp = match[3], bool(match[1])
        body = []
        while True:
            if number >= len(physical):
                raise DockerfileError(
                    f"the here-document {name} has no end",
                    span=line.span(match.start(), match.end()),
                    source=source,
                    hint=f"put a line with {name} alone behind it",
                )
            text = physical[number].lstrip("\t") if chomp else physical[number]
            number += 1
            if text == name:
                break
            body.append(text + "\n")
        found.append(Heredoc(name, "".join(body), not match[2], chomp, line.span(match.start(), match.end())))
    return tuple(found), number


def _is_quoted(text: str, position: int) -> bool:
    quote = ""
    for character in text[:position]:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
    return bool(quote)


def heredoc_names(text: str) -> list[tuple[int, int, str]]:
    """The here-documents that a line names: start, end, name."""
    return [(match.start(), match.end(), match[3]) for match in _HEREDOC.finditer(text) if not _is_quoted(text, match.start())]
