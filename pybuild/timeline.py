"""When the work of a build was done, on which thread, and which of it the end had to wait for. Pure.

Times are seconds since the build began.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from pybuild.builder.events import MAKE, PACK, Worked
from pybuild.builder.records.history import Trace
from pybuild.registry.progress import Transferred
from pybuild.values import frozen

PULL, PUSH = "pull", "push"
# Work that begins this much later than what it stands on has waited for something else: a thread.
_GAP = 0.005


@frozen
class Work:
    """A piece of work: of a step, or of a transfer, whose `name` is the blob's. `content` and `size` are bytes."""

    action: str
    name: str
    thread: str
    started: float
    ended: float
    step: int | None = None
    content: int = 0
    size: int = 0

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.started


class Watch:
    """What a timeline is made of, taken down while a build tells of itself. `clock` is monotonic."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._works: list[Work] = []
        self._transfers: dict[tuple[str, str], Work] = {}

    def worked(self, event: Worked) -> None:
        """A piece of work on a step is over."""
        started, ended = event.started - self._began, event.ended - self._began
        self._works.append(Work(event.action, "", event.thread, started, ended, event.step, event.content, event.size))

    def transferred(self, event: Transferred, *, now: float, thread: str) -> None:
        """A blob is on its way; its first word begins the bar, its last one ends it."""
        if event.action not in (PULL, PUSH):
            return
        key, moment = (event.action, event.name), now - self._began
        started = self._transfers[key].started if key in self._transfers else moment
        self._transfers[key] = Work(event.action, event.name, thread, started, moment, size=event.total)

    def works(self) -> tuple[Work, ...]:
        """All work, in the order in which it began."""
        return tuple(sorted((*self._works, *self._transfers.values()), key=lambda work: (work.started, work.ended)))


def critical_path(works: Sequence[Work], traces: Iterable[Trace], *, failed: Container[int] = ()) -> tuple[Work, ...]:
    """The work that the build's end had to wait for, from its beginning on: none of it shorter, and the build is not shorter.

    Each piece waited for what its step stands on or reads from, and, when it began later than that, for its thread. What ended
    the build is the first of the steps that `failed`, if there is one: others were only broken off by it.
    """
    if not works:
        return ()
    steps = {trace.number: trace for trace in traces}
    made = {work.step: work for work in works if work.action == MAKE}
    broken = [work for work in works if work.step is not None and work.step in failed]
    # A step may have been made before its packing failed.
    last = {work.step: work for work in sorted(broken, key=lambda work: work.ended)}
    path = [min(last.values(), key=lambda work: work.ended) if last else max(works, key=lambda work: work.ended)]
    rest = [work for work in works if work is not path[0]]
    while before := _before(path[0], rest, steps, made):
        path.insert(0, before)
        # Two that took no time at all could each have waited for the other.
        rest = [work for work in rest if work is not before]
    return tuple(path)


def _before(work: Work, works: Sequence[Work], steps: Mapping[int, Trace], made: Mapping[int | None, Work]) -> Work | None:
    inputs: list[Work] = []
    here = {id(item) for item in works}
    if work.action == PACK:
        inputs = [made[work.step]] if work.step in made else []
    elif work.action == MAKE and work.step is not None and (trace := steps.get(work.step)):
        inputs = [made[number] for number in (trace.below, *trace.origins) if number is not None and number in made]
    inputs = [item for item in inputs if id(item) in here and item.ended <= work.started]
    last = max(inputs, key=lambda item: item.ended, default=None)
    if last is not None and work.started - last.ended <= _GAP:
        return last
    earlier = [item for item in works if item.ended <= work.started]
    if work.action in (MAKE, PACK):
        earlier = [item for item in earlier if item.thread == work.thread or item.action == PULL]
    return max((*earlier, *((last,) if last else ())), key=lambda item: item.ended, default=None)


def ready(works: Sequence[Work], traces: Iterable[Trace]) -> dict[int, float]:
    """When each step that was made could have been begun: as soon as all was made that it stands on and reads from."""
    made = {work.step: work for work in works if work.action == MAKE}
    found = {}
    for trace in traces:
        if trace.number in made:
            inputs = [made[number].ended for number in (trace.below, *trace.origins) if number is not None and number in made]
            found[trace.number] = max(inputs, default=made[trace.number].started)
    return found
