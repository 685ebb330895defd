"""Which steps of a build wait for which, and which of them can be made now. Linear in steps. Pure but for its own state.

A step reads whole file systems, and a file system is there when every step under it is made; that is known from the uppermost
one alone, since it waited for those below it, but for a COPY --link, which waits for nothing below.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from pybuild.builder.graph import BuildGraph, CopyStep, Root, RunStep, Step


def read_steps(step: Step) -> tuple[int, ...]:
    """The steps whose file systems a step reads beside that of its parent."""
    return tuple(origin for origin in step.origins if isinstance(origin, int)) if isinstance(step, CopyStep | RunStep) else ()


def under_runs(graph: BuildGraph, making: Sequence[int]) -> frozenset[int]:
    """The steps that a RUN among `making` needs as directories."""
    found: set[int] = set()
    for number in making:
        step = graph.steps[number]
        if isinstance(step, RunStep):
            for last in (step.parent, *read_steps(step)):
                _add_chain(graph, last, found)
    return frozenset(found)


def _add_chain(graph: BuildGraph, last: int, found: set[int]) -> None:
    while last not in found:
        found.add(last)
        step = graph.steps[last]
        if isinstance(step, Root):
            return
        last = step.parent


class Schedule:
    """The steps that are to be made and are not. True as long as there are any that nobody has taken."""

    def __init__(self, graph: BuildGraph, making: Sequence[int]) -> None:
        self._graph = graph
        self._making = frozenset(making)
        self._uppermost: list[int | None] = []
        for number, step in enumerate(graph.steps):
            below = None if isinstance(step, Root) else self._uppermost[step.parent]
            self._uppermost.append(number if number in self._making else below)
        self._waits: dict[int, int] = {}
        self._next: dict[int, list[int]] = {}
        self._ready: list[int] = []
        for number in making:
            before = set(self._before(number))
            self._waits[number] = len(before)
            for other in before:
                self._next.setdefault(other, []).append(number)
            if not before:
                self._ready.append(number)
        heapq.heapify(self._ready)
        self._left = len(self._waits)

    def __bool__(self) -> bool:
        return self._left > 0

    def ready(self, most: int) -> list[int]:
        """Take up to `most` steps that can be made now, the first in the file first."""
        taken = [heapq.heappop(self._ready) for _ in range(min(max(most, 0), len(self._ready)))]
        self._left -= len(taken)
        return taken

    def put_back(self, number: int) -> None:
        """Say that a step that was taken has to wait after all."""
        heapq.heappush(self._ready, number)
        self._left += 1

    def done(self, number: int) -> None:
        """Say that a step is made."""
        for other in self._next.pop(number, ()):
            self._waits[other] -= 1
            if not self._waits[other]:
                heapq.heappush(self._ready, other)

    def _before(self, number: int) -> Iterator[int]:
        step = self._graph.steps[number]
        if not isinstance(step, Root) and not _stands_alone(step):
            yield from self._gates(step.parent)
        for origin in read_steps(step):
            yield from self._gates(origin)

    def _gates(self, last: int) -> Iterator[int]:
        """The steps whose making makes the file system after `last` whole."""
        number = self._uppermost[last]
        while number is not None:
            yield number
            step = self._graph.steps[number]
            if isinstance(step, Root) or not _stands_alone(step):
                return
            number = self._uppermost[step.parent]


def _stands_alone(step: Step) -> bool:
    return isinstance(step, CopyStep) and step.stands_alone
