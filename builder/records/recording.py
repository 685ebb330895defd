"""Listening to a build, and writing down at its end what it did: the row that `why` and the next build's `--explain` read."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pybuild.builder.contexts.context import is_local
from pybuild.builder.events import CANCELED as CANCELED_ERROR
from pybuild.builder.events import Event, Finished, Progress, Recorded, StepFinished
from pybuild.builder.graph import BuildGraph, MetaStep, SourceStep, Step
from pybuild.builder.planning.memory import Plan
from pybuild.builder.records.history import CANCELED, FAILED, HIT, RAN, UNTOUCHED, Build, History, Outcome, Read, Value, outline
from pybuild.builder.request import BuildRequest
from pybuild.builder.workspace import Workspace
from pybuild.lean import sha256

# Part of the name of an outline: another way to write it down is another outline.
_FORMAT = 1
_UNTOUCHED = Outcome(UNTOUCHED)


class Recorder:
    """Progress that notes what becomes of each step, and hands everything on. The build fills in `keys`, `fresh` and `anew`."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.outcomes: dict[int, Outcome] = {}
        self._reads: list[tuple[Step, Read]] = []
        self.keys: tuple[str, ...] = ()
        self.fresh: frozenset[int] = frozenset()
        self.anew: frozenset[int] = frozenset()
        self.image: str | None = None
        self.number: int | None = None

    def note_read(self, step: Step, origin: str, digest: str) -> None:
        """A step reads that much out of a context."""
        self._reads.append((step, Read(origin, digest)))

    def reads(self, graph: BuildGraph) -> list[tuple[int, Read]]:
        """What was noted, by the numbers of the steps."""
        numbers = {id(step): number for number, step in enumerate(graph.steps)}
        return [(numbers[id(step)], item) for step, item in self._reads]

    def emit(self, event: Event) -> None:
        """Take one event."""
        if type(event) is StepFinished:
            state = HIT if event.is_cached else RAN if event.error is None else FAILED
            if event.error == CANCELED_ERROR:
                state = CANCELED
            self.outcomes[event.step] = Outcome(state, event.seconds, event.error)
        elif type(event) is Finished:
            self.image = event.image_id
        self._progress.emit(event)


@contextmanager
def recorded(
    plan: Plan, request: BuildRequest, workspace: Workspace, progress: Progress, *, dockerfile: str
) -> Iterator[Recorder]:
    """A recorder for one build of what is `called` so; its row is written on leaving, also after an error."""
    recorder, started = Recorder(progress), time.time()
    try:
        yield recorder
    finally:
        if recorder.keys:
            _write(plan, request, workspace, recorder, started, dockerfile)


def called(request: BuildRequest) -> str:
    """How the history calls the Dockerfile of a request as the user made it: builds of the same one are compared.

    It is a path if it is a file, and tells what it is for, or where it is, if it comes from elsewhere.
    """
    context, file = request.context, request.dockerfile
    if file not in (None, "-") and is_local(file) and is_local(context):
        return os.path.abspath(file)
    place = os.path.abspath(context) if is_local(context) else _elsewhere(context)
    if file is None:
        return os.path.join(place, "Dockerfile") if is_local(context) else place
    if file != "-" and is_local(file):
        return f"{file} of {place}"
    return f"{_elsewhere(file)} for {place}"


def _elsewhere(place: str) -> str:
    if place == "-":
        return "stdin"
    from pybuild.registry.redaction import redacted

    return redacted(place)


def _write(plan: Plan, request: BuildRequest, workspace: Workspace, recorder: Recorder, started: float, dockerfile: str) -> None:
    history, graph, keys = History(workspace.database), plan.graph, recorder.keys
    name = sha256(repr((_FORMAT, keys, plan.source.name, plan.source.text)).encode(errors="surrogateescape")).hexdigest()
    content = None if history.has_outline(name) else outline(graph, keys, recorder.reads(graph))
    solid = [n for n, step in enumerate(graph.steps) if not isinstance(step, MetaStep | SourceStep)]
    build = Build(
        0,
        started,
        time.time() - started,
        dockerfile,
        request.target or "",
        tuple(tag.familiar for tag in request.tags),
        recorder.image,
        _options(request, recorder),
        _outcomes(graph, recorder.outcomes, solid),
    )
    used = {keys[number] for number in solid} | workspace.used_trees()
    made = [keys[number] for number in solid if recorder.outcomes.get(number, _UNTOUCHED).state == RAN]
    number = recorder.number = history.add(build, outline_name=name, outline=content, uses=used, made=made)
    recorder.emit(Recorded(number))


def _options(request: BuildRequest, recorder: Recorder) -> dict[str, Value]:
    found: dict[str, Value] = {
        "fresh": [*sorted(recorder.fresh)],
        "compression": request.compression,
        "timestamp": request.timestamp,
    }
    return found if request.no_cache or not recorder.fresh else found | {"named": [*sorted(recorder.anew)]}


def _outcomes(graph: BuildGraph, heard: Mapping[int, Outcome], solid: list[int]) -> dict[int, Outcome]:
    return {number: heard.get(number, _UNTOUCHED) for number in solid}
