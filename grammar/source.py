"""The text of a Dockerfile and places in it."""

from __future__ import annotations

from typing import NamedTuple


class Span(NamedTuple):
    """A place in a source: 1-based line and column of its first character, 1-based `end_line`, and
    `end_column`, the column just behind its last character on that line."""

    line: int
    column: int
    end_line: int
    end_column: int


class Source(NamedTuple):
    """A Dockerfile's name, as errors print it, and its text. Line ends are as they are in the file."""

    name: str
    text: str

    @classmethod
    def of(cls, name: str, content: bytes) -> Source:
        """The source of a file's content. Bytes that are no UTF-8 are kept, as surrogates."""
        return cls(name, content.decode("utf-8", "surrogateescape").removeprefix("\ufeff"))

    def show(self, message: str, span: Span) -> str:
        """A message about a place, with the line and a mark under it."""
        lines = self.text.split("\n")
        head = f"{self.name}:{span.line}:{span.column}: {message}"
        if not 1 <= span.line <= len(lines):
            return head
        line = lines[span.line - 1].rstrip("\r").replace("\t", " ")
        end = span.end_column if span.end_line == span.line else len(line) + 1
        marks = "~" * max(1, min(end, len(line) + 1) - span.column)
        return f"{head}\n    {line}\n    {' ' * (span.column - 1)}{marks}"
