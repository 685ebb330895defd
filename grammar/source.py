"""The text of a Dockerfile and places in it."""

from __future__ import annotations

from pybuild.hints import NamedTuple


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
        """A message about a place, with the line and a mark under it. Of a long line only the part around the place."""
        head = f"{self.name}:{span.line}:{span.column}: {shown(message)}"
        start = _offset(self.text, span.line)
        if start is None:
            return head
        end = self.text.find("\n", start)
        line = self.text[start : end if end >= 0 else len(self.text)].rstrip("\r")
        first = span.column - 1
        last = max(first, min(span.end_column - 1 if span.end_line == span.line else len(line), len(line)))
        cut = max(0, min(first - _WIDTH // 3, len(line) - _WIDTH)) if len(line) > _WIDTH else 0
        before, marked, behind = line[cut:first], line[first:last], line[last : cut + _WIDTH]
        marked = marked[: max(1, cut + _WIDTH - first)]
        dots = "..." if cut else ""
        text = f"{dots}{shown(before + marked + behind, most=_WIDTH)}{'...' if len(line) > cut + _WIDTH else ''}"
        marks = f"{' ' * (len(dots) + _width(shown(before)))}{'~' * max(1, _width(shown(marked)))}"
        return f"{head}\n    {text}\n    {marks}"


_WIDTH = 300
_CONTROL = {code: "\ufffd" for code in (*range(32), *range(127, 160), *range(0xD800, 0xE000)) if code not in (9, 10)} | {9: " "}


def shown(text: str, *, most: int = _WIDTH) -> str:
    """A text as it may go to a terminal: no control characters, which would be obeyed, and not too long."""
    return (text if len(text) <= most else f"{text[:most]}...").translate(_CONTROL)


def _offset(text: str, line: int) -> int | None:
    """Where a 1-based line begins; None when there is none."""
    start = 0
    for _ in range(line - 1):
        start = text.find("\n", start) + 1
        if not start:
            return None
    return start if line >= 1 else None


def _width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(one) else 2 if east_asian_width(one) in "WF" else 1 for one in text)
