"""What a Dockerfile says: its text, as typed instructions with their places. Pure: no file, no network, no clock.

`parse` and the words bring lark with them, so they are imported when they are first called: a build whose plan is
already known needs neither.
"""

from __future__ import annotations

from collections.abc import Mapping

from pybuild.grammar.errors import DockerfileError, WordError
from pybuild.grammar.source import Source, Span
from pybuild.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from pybuild.grammar.instructions import Dockerfile, Instruction

__all__ = ["DockerfileError", "Source", "Span", "WordError", "expand", "expand_text", "parse", "parse_instruction", "split"]


def parse(source: Source) -> Dockerfile:
    """The instructions of a Dockerfile. Raises DockerfileError with the place that is wrong."""
    from pybuild.grammar.parser import parse as parse_source

    return parse_source(source)


def parse_instruction(source: Source) -> Instruction:
    """The one instruction of a text, as ONBUILD keeps them. Raises DockerfileError."""
    from pybuild.grammar.parser import parse_instruction as parse_one

    return parse_one(source)


def expand(text: str, env: Mapping[str, str], *, escape: str = "\\") -> str:
    """One word with its variables replaced and its quotes removed. Raises WordError."""
    from pybuild.grammar.words import expand as expand_word

    return expand_word(text, env, escape=escape)


def split(text: str, env: Mapping[str, str], *, escape: str = "\\") -> list[str]:
    """A word that an unquoted expansion may split at blanks, as EXPOSE's does. Raises WordError."""
    from pybuild.grammar.words import split as split_word

    return split_word(text, env, escape=escape)


def expand_text(text: str, env: Mapping[str, str]) -> str:
    """The body of a here-document with its variables replaced; quotes in it are text. Raises WordError."""
    from pybuild.grammar.words import expand_text as expand_body

    return expand_body(text, env)
