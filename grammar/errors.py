"""What can be wrong with a Dockerfile's text.

DockerfileError      always with the span that is wrong; the first of several has the others
└── WordError        inside one word: `${x`, an unknown modifier, `${x:?word}` without x, a bad key of --mount
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pybuild.grammar.source import Source, Span, shown


class DockerfileError(Exception):
    """The text breaks the language at `span`; `hint` says what to write instead.

    `others` are further errors that have nothing to do with this one, in the order of the text: whoever reports this
    one reports them too.
    """

    exit_code = 2

    def __init__(self, message: str, *, span: Span, source: Source | None = None, hint: str | None = None) -> None:
        super().__init__(shown(message))
        self.message = shown(message)
        self.span = span
        self.source = source
        self.hint = None if hint is None else shown(hint)
        self.others: tuple[Exception, ...] = ()

    def __reduce__(self) -> tuple[object, ...]:
        # As it is, and not by calling the class: so it comes out of a process pool, too.
        import copyreg

        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]

    def __str__(self) -> str:
        """`name:line:column: message`, the line, and a mark under the part that is wrong."""
        return self.source.show(self.message, self.span) if self.source else self.message


class WordError(DockerfileError):
    """A word that is malformed or whose expansion fails; the span is inside the word, which is the source's text."""


def together(errors: Sequence[DockerfileError]) -> DockerfileError:
    """The first of some errors, with the others behind it. There has to be one."""
    first, *others = errors
    first.others = (*first.others, *others)
    return first


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of the known words that was probably meant."""
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), 1)
    return close[0] if close else None
