"""Errors of a Dockerfile that have nothing to do with each other, told together: one bad line does not hide the others. Pure."""

from __future__ import annotations

from pybuild.builder.errors import PlanError
from pybuild.grammar import DockerfileError

Problem = PlanError | DockerfileError
# Nobody reads more, and a file that means something else altogether has one in every line.
_MOST = 20


def _place(problem: Problem) -> tuple[bool, str, int, int]:
    """In the order of the text, text by text; what has no place comes last."""
    if problem.span is None or problem.source is None:
        return True, "", 0, 0
    return False, problem.source.name, problem.span.line, problem.span.column


class Problems:
    """What was found so far."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, problem: Problem) -> None:
        """Keep one, with what it brings along."""
        self._found.append(problem)

    def check(self) -> None:
        """Raise the first one with the others behind it, if there is one."""
        if self._found:
            first, *others = sorted(self._found, key=_place)[:_MOST]
            first.others = (*first.others, *others)
            raise first
