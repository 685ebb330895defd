"""What waits for networks, a few at a time: contexts, base images, URLs and repositories of one build."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from pybuild.hints import TypeVar

T = TypeVar("T")


def together(works: Sequence[Callable[[], T]], *, jobs: int) -> list[T]:
    """The results, in order. Of several errors the first in that order is raised, once all have ended."""
    if len(works) < 2 or jobs < 2:
        return [work() for work in works]
    from pybuild.registry.parallel import Stop, run

    found: dict[int, T] = {}
    errors: dict[int, Exception] = {}

    def do(number: int, work: Callable[[], T]) -> None:
        try:
            found[number] = work()
        except Exception as error:
            errors[number] = error

    run([partial(do, number, work) for number, work in enumerate(works)], Stop(), jobs=jobs)
    if errors:
        raise errors[min(errors)]
    return [found[number] for number in range(len(works))]
