"""What can be wrong with a Dockerfile's text.

DockerfileError      always with the span that is wrong
└── WordError        inside one word: `${x`, an unknown modifier, `${x:?word}` without x
"""

from __future__ import annotations

from pybuild.grammar.source import Source, Span


class DockerfileError(Exception):
    """The text breaks the language at `span`; `hint` says what to write instead."""

    exit_code = 2

    def __init__(self, message: str, *, span: Span, source: Source | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.span = span
        self.source = source
        self.hint = hint

    def __str__(self) -> str:
        """`name:line:column: message`, the line, and a mark under the part that is wrong."""
        return self.source.show(self.message, self.span) if self.source else self.message


class WordError(DockerfileError):
    """A word with a malformed or failing expansion; the span is inside the word."""
