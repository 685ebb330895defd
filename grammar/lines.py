"""The first pass over a Dockerfile: directives, comments, continuations and here-documents; what is left is one line for
each instruction, with a map back to the text. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from pybuild.grammar.blanks import SPACES
from pybuild.grammar.errors import DockerfileError, WordError
from pybuild.grammar.heads import NotTextsError, json_words, split_head
from pybuild.grammar.heredocs import HeredocName, heredoc_names, without_tabs
from pybuild.grammar.instructions import Heredoc
from pybuild.grammar.source import Source, Span
from pybuild.values import frozen

_DIRECTIVE = re.compile(r"#[^\S\x1c-\x1f]*([A-Za-z][A-Za-z0-9]*)[\t\f\r ]*=[\t\f\r ]*(.+?)[\t\f\r ]*\Z")
_DIRECTIVES = ("syntax", "escape", "check")
_WITH_HEREDOCS = ("run", "copy", "add")


@frozen
class Line:
    """An instruction on one line. `starts` and `places` map offsets in `text` to lines and columns of the source.

    `first_line` and `last_line` are those of the file that belong to it, here-documents included.
    """

    text: str
    starts: tuple[int, ...]
    places: tuple[tuple[int, int], ...]
    heredocs: tuple[Heredoc, ...]
    first_line: int
    last_line: int

    def place(self, offset: int) -> tuple[int, int]:
        """The 1-based line and column of a character."""
        part = bisect_right(self.starts, offset) - 1
        line, column = self.places[part]
        return line, column + offset - self.starts[part]

    def span(self, start: int, end: int) -> Span:
        """The span of a part of the text."""
        if len(self.starts) == 1:
            ((line, column),) = self.places
            return Span(line, column + start, line, column + end)
        line, column = self.place(start)
        end_line, end_column = self.place(max(start, end - 1))
        return Span(line, column, end_line, end_column + (end > start))


@frozen
class Lines:
    """All instructions of a source, its directives, and what is wrong with them as far as lines go."""

    lines: tuple[Line, ...]
    directives: tuple[tuple[str, str], ...]
    errors: tuple[DockerfileError, ...]


def split_lines(source: Source) -> Lines:
    """The lines of a source. Behind a here-document without its end there are none."""
    splitter = Splitter(source)
    lines = tuple(splitter.lines())
    return Lines(lines, splitter.directives, tuple(splitter.errors))


def _directives(source: Source, physical: list[str], errors: list[DockerfileError]) -> tuple[tuple[str, str], ...]:
    """The directives in force. BuildKit looks for `escape` in one way and for the others in another, which a `#!` line does not
    end and blanks before the `#` do."""
    found: dict[str, str] = {}
    is_indented = False
    first = 1 if physical and physical[0].startswith("#!") else 0
    for number, text in enumerate(physical[first:], first + 1):
        match = _DIRECTIVE.match(text.lstrip(SPACES))
        name = match[1].lower() if match else ""
        if match is None or name not in _DIRECTIVES or (first and text[:1] != "#"):
            break
        is_indented = is_indented or text[:1] != "#"
        span = Span(number, 1, number, len(text) + 1)
        if name in found:
            if first:
                break
            errors.append(DockerfileError(f"the directive {name} twice", span=span, source=source, hint="remove one of them"))
        elif name != "escape":
            if not is_indented:
                found[name] = match[2]
        elif first:
            continue
        elif match[2] in ("\\", "`"):
            found[name] = match[2]
        else:
            hint = "it is \\ or `"
            errors.append(DockerfileError(f"no such escape character: {match[2]}", span=span, source=source, hint=hint))
    return tuple(found.items())


class Splitter:
    """The lines of a source, one after the other: a large file need not be in memory as lines, too.

    `directives` are known at once; `errors` are complete when the lines are through.
    """

    def __init__(self, source: Source) -> None:
        self.errors: list[DockerfileError] = []
        self._source = source
        self._physical = source.text.removeprefix("\ufeff").split("\n")
        if not self._physical[-1]:
            self._physical.pop()
        self._number = 0
        self.directives = _directives(source, self._physical, self.errors)
        self.escape = dict(self.directives).get("escape", "\\")

    def lines(self) -> Iterator[Line]:
        """Each line. Behind a here-document without its end there are none."""
        physical = self._physical
        while self._number < len(physical):
            text = physical[self._number].rstrip("\r")
            content = text.lstrip(SPACES)
            if not content or content[0] == "#":
                self._number += 1
                continue
            try:
                line = self._line(content, len(text) - len(content))
            except DockerfileError as error:
                self.errors.append(error)
                return
            yield line

    def _line(self, text: str, skipped: int) -> Line:
        """The instruction that begins here; `number` moves behind it."""
        physical, first = self._physical, self._number
        parts: list[str] = []
        starts: list[int] = []
        places: list[tuple[int, int]] = []
        length = 0
        while True:
            part = self._continued(text)
            starts.append(length)
            places.append((self._number + 1, skipped + 1))
            parts.append(text if part is None else part)
            length += len(parts[-1])
            self._number += 1
            if part is None:
                break
            skipped = 0
            while self._number < len(physical) and physical[self._number].lstrip(SPACES)[:1] in ("", "#"):
                self._number += 1
            if self._number == len(physical):
                break
            text = physical[self._number].rstrip("\r")
        line = Line("".join(parts), tuple(starts), tuple(places), (), first + 1, self._number)
        heredocs = self._heredocs(line) if "<<" in line.text else ()
        return Line(line.text, line.starts, line.places, heredocs, first + 1, self._number) if heredocs else line

    def _continued(self, text: str) -> str | None:
        """What stands before the escape character that continues a line. One that is escaped itself continues nothing."""
        part = text.rstrip(" \t")
        if not part.endswith(self.escape) or part[:-1].endswith(self.escape):
            return None
        return part[:-1]

    def _heredocs(self, line: Line) -> tuple[Heredoc, ...]:
        if not self._can_have_heredocs(line.text):
            return ()
        try:
            names = heredoc_names(line.text)
        except WordError as error:
            raise DockerfileError(
                error.message, span=line.span(0, len(line.text)), source=self._source, hint=error.hint
            ) from None
        return tuple(self._heredoc(line, named) for named in names)

    def _can_have_heredocs(self, text: str) -> bool:
        head = split_head(text, 0, len(text), self.escape)
        if head.keyword.lower() == "onbuild":
            head = split_head(text, head.rest, head.end, self.escape)
        if head.keyword.lower() not in _WITH_HEREDOCS:
            return False
        try:
            return json_words(text[head.rest : head.end]) is None
        except NotTextsError:
            return False

    def _heredoc(self, line: Line, named: HeredocName) -> Heredoc:
        body: list[str] = []
        while self._number < len(self._physical):
            text = self._physical[self._number]
            self._number += 1
            end = text.rstrip("\r")
            if (end.lstrip("\t") if named.chomp else end) == named.name:
                raw = "".join(body)
                content = without_tabs(raw) if named.chomp else raw
                return Heredoc(named.name, content, named.expand, named.chomp, line.span(named.start, named.end), raw)
            body.append(text + "\n")
        raise DockerfileError(
            f"the here-document {named.name} has no end",
            span=line.span(named.start, named.end),
            source=self._source,
            hint=f"put a line with {named.name} alone behind it",
        )
