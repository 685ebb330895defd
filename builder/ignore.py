""".dockerignore: which paths of a context do not exist for a build.

The rules are those of docker, not of git: `filepath.Match` and `**`, the last pattern that matches decides, `!` brings
back even what lies under an excluded directory. Patterns in a row with the same sign become one regular expression,
which is what makes 20,000 paths cheap. Pure.
"""

from __future__ import annotations

import posixpath
import re

from pybuild.builder.errors import ContextError
from pybuild.builder.patterns import translate
from pybuild.registry.values import frozen


@frozen
class Pattern:
    """One line of the file: `is_exception` for `!`; `text` is cleaned, relative to the context."""

    text: str
    is_exception: bool
    line: int


class Ignore:
    """The patterns of one ignore file, in order."""

    def __init__(self, patterns: tuple[Pattern, ...] = (), name: str = ".dockerignore") -> None:
        self.name = name
        self.patterns = patterns
        self._runs: list[tuple[bool, re.Pattern[str]]] = []
        for pattern in patterns:
            if self._runs and self._runs[-1][0] == pattern.is_exception:
                joined = f"{self._runs[-1][1].pattern}|{_expression(pattern)}"
                self._runs[-1] = (pattern.is_exception, re.compile(joined, re.DOTALL))
            else:
                self._runs.append((pattern.is_exception, re.compile(_expression(pattern), re.DOTALL)))

    @classmethod
    def parse(cls, text: str, name: str) -> Ignore:
        """The patterns in a file's text. Raises ContextError with the line of a pattern that is none."""
        patterns = []
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
            if line.startswith("#") or not line.strip():
                continue
            body = line.strip()
            is_exception = body.startswith("!")
            body = body.removeprefix("!").strip()
            if not body:
                raise ContextError(f"{name}:{number}: '!' with nothing behind it", hint="write !PATTERN, or remove the line")
            body = posixpath.normpath(body).lstrip("/")
            if body in ("", "."):
                continue
            pattern = Pattern(body, is_exception, number)
            try:
                re.compile(_expression(pattern))
            except (ValueError, re.error):
                raise ContextError(f"{name}:{number}: not a pattern: {line.strip()}", hint="close the '[' with a ']'") from None
            patterns.append(pattern)
        return cls(tuple(patterns), name)

    @property
    def has_exceptions(self) -> bool:
        """Whether something under an excluded directory may come back."""
        return any(pattern.is_exception for pattern in self.patterns)

    def hides(self, path: str) -> bool:
        """Whether this path is excluded: the last pattern decides that matches it, or a directory above it."""
        for is_exception, expression in reversed(self._runs):
            if expression.match(path):
                return not is_exception
        return False

    def culprit(self, path: str) -> Pattern | None:
        """The pattern that excludes this path."""
        for pattern in reversed(self.patterns):
            if re.match(_expression(pattern), path, re.DOTALL):
                return None if pattern.is_exception else pattern
        return None


def _expression(pattern: Pattern) -> str:
    # What matches a directory covers all that is in it.
    return f"(?:{translate(pattern.text, double_star=True)})(?:/.*)?\\Z"
