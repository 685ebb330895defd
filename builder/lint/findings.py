"""What a rule finds: a place, a message, and the edits that would mend it. Plain values."""

from __future__ import annotations

from pybuild.grammar import Span
from pybuild.grammar.instructions import Instruction
from pybuild.values import frozen


@frozen
class Edit:
    """The text at `span` becomes `text`; an insertion has a span without length."""

    span: Span
    text: str

    @classmethod
    def insertion(cls, line: int, column: int, text: str) -> Edit:
        """Text that is put before a character."""
        return cls(Span(line, column, line, column), text)


@frozen
class Hit:
    """What a check yields. A comment above the instruction `at` may silence it; None says that no comment can."""

    span: Span
    message: str
    hint: str | None = None
    edits: tuple[Edit, ...] = ()
    at: Instruction | None = None


@frozen
class Finding:
    """A rule that a file breaks, at a place. `hint` says what to write instead; `edits`, if any, change no meaning."""

    rule: str
    span: Span
    message: str
    hint: str | None = None
    edits: tuple[Edit, ...] = ()
