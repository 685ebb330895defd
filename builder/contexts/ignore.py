""".dockerignore: which paths of a context do not exist for a build. Pure."""

from __future__ import annotations

import posixpath
import re

from pybuild.builder.contexts.exclusion import Exclusion, Pattern
from pybuild.builder.errors import ContextError


class Ignore(Exclusion):
    """The patterns of one ignore file, in order."""

    def __init__(self, patterns: tuple[Pattern, ...] = (), name: str = ".dockerignore") -> None:
        super().__init__(patterns)
        self.name = name

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
                re.compile(pattern.expression)
            except (ValueError, re.error):
                raise ContextError(f"{name}:{number}: not a pattern: {line.strip()}", hint="close the '[' with a ']'") from None
            patterns.append(pattern)
        return cls(tuple(patterns), name)
