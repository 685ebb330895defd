"""Lists of patterns, `!` bringing back, as .dockerignore and --exclude have them: which paths they mean.

The rules are docker's, not git's: `filepath.Match` and `**`, the last pattern that matches decides, and what matches a
directory goes for all that is in it. Patterns in a row with the same sign become one regular expression, which is what
makes 20,000 paths cheap. Pure. Source: moby/patternmatcher, MatchesUsingParentResults.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pybuild.builder.contexts.patterns import translate
from pybuild.values import frozen

# For each run of patterns, whether it matched.
Matched = tuple[bool, ...]


@frozen
class Pattern:
    """One pattern: `is_exception` for `!`; `text` is cleaned and relative. `line` is that of its file, 0 without one."""

    text: str
    is_exception: bool
    line: int = 0

    @property
    def expression(self) -> str:
        """The regular expression. Raises ValueError for what is no pattern."""
        return f"(?:{translate(self.text, double_star=True)})\\Z"


class Exclusion:
    """Patterns in order. A path is asked for from the top down, for a directory's matches go for what is in it."""

    def __init__(self, patterns: Iterable[Pattern] = ()) -> None:
        self.patterns = tuple(patterns)
        self.has_exceptions = any(pattern.is_exception for pattern in self.patterns)
        runs: list[tuple[bool, str]] = []
        for pattern in self.patterns:
            if runs and runs[-1][0] == pattern.is_exception:
                runs[-1] = (pattern.is_exception, f"{runs[-1][1]}|{pattern.expression}")
            else:
                runs.append((pattern.is_exception, pattern.expression))
        self._runs = [(is_exception, re.compile(text, re.DOTALL)) for is_exception, text in runs]
        self._start: Matched = (False,) * len(runs)
        self._directories: dict[str, Matched] = {"": self._start}

    def step(self, path: str, above: Matched | None = None) -> tuple[bool, Matched]:
        """Whether a path is meant, and what matched it; `above` is that of its directory, None at the top."""
        is_meant = False
        matched = []
        for (is_exception, expression), is_matched in zip(self._runs, above or self._start, strict=True):
            # A run that could change nothing is not looked at, not even for what is below. That is seen when patterns repeat.
            if not is_matched and is_exception == is_meant:
                is_matched = expression.match(path) is not None
            matched.append(is_matched)
            if is_matched:
                is_meant = not is_exception
        return is_meant, tuple(matched)

    def hides(self, path: str) -> bool:
        """Whether a path is meant."""
        return self.step(path, self._of_directory(path.rpartition("/")[0]))[0]

    def _of_directory(self, path: str) -> Matched:
        found = self._directories.get(path)
        if found is None:
            found = self._directories[path] = self.step(path, self._of_directory(path.rpartition("/")[0]))[1]
        return found

    def culprit(self, path: str) -> Pattern | None:
        """The pattern that decides, if it is one that hides."""
        if not self.hides(path):
            return None
        parts = path.split("/")
        prefixes = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        hiding = [pattern for pattern in self.patterns if not pattern.is_exception]
        matching = [pattern for pattern in hiding if any(re.match(pattern.expression, prefix, re.DOTALL) for prefix in prefixes)]
        return matching[-1]


def exclusion(texts: Iterable[str]) -> Exclusion:
    """The patterns of --exclude. Raises ValueError with what is no pattern."""
    import posixpath

    patterns = []
    for text in texts:
        if text.strip():
            # Cleaned with the mark before it, and no leading slash goes: so has it BuildKit, other than in .dockerignore.
            body = posixpath.normpath(text.strip())
            pattern = Pattern(body.removeprefix("!"), body.startswith("!"))
            if not pattern.text:
                raise ValueError(f"'!' with nothing behind it: {text!r}")
            re.compile(pattern.expression)
            patterns.append(pattern)
    return Exclusion(patterns)
