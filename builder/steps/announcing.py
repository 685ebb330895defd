"""Telling of a build's steps, each with its place among those of its stage."""

from __future__ import annotations

from collections.abc import Callable

from pybuild.builder.events import Notice, Progress, StepFinished, StepStarted
from pybuild.builder.graph import BuildGraph, MetaStep, SourceStep
from pybuild.values import frozen


@frozen
class Place:
    """Where a step is: `number` of `total` among those of its stage that are more than a line of the config."""

    stage: str
    number: int
    total: int


def places(graph: BuildGraph) -> dict[int, Place]:
    """The places of all steps that have one. The stage of a build that has but one is ""."""
    stages: dict[str, list[int]] = {}
    for number, step in enumerate(graph.steps):
        if not isinstance(step, MetaStep):
            stages.setdefault(graph.stage_of(number), []).append(number)
    found: dict[int, Place] = {}
    for stage, numbers in stages.items():
        name = "" if len(graph.stages) == 1 else f"stage-{stage}" if stage.isdigit() else stage
        found |= {number: Place(name, place, len(numbers)) for place, number in enumerate(numbers, 1)}
    return found


def announcer(graph: BuildGraph, progress: Progress) -> Callable[[int], None]:
    """What tells that work on a step begins."""
    found = places(graph)

    def announce(number: int) -> None:
        place = found[number]
        progress.emit(StepStarted(number, place.number, place.total, place.stage, graph.steps[number].name))

    return announce


def notifier(progress: Progress) -> Callable[[str], None]:
    """What tells something that the user should know."""
    return lambda text: progress.emit(Notice(text))


def announce_cached(graph: BuildGraph, at_work: tuple[int, ...], announce: Callable[[int], None], progress: Progress) -> None:
    """Tell of the steps that there is nothing to do about."""
    working = frozenset(at_work)
    for number, step in enumerate(graph.steps):
        if number not in working and not isinstance(step, MetaStep):
            announce(number)
            progress.emit(StepFinished(number, 0.0, is_cached=not isinstance(step, SourceStep)))
