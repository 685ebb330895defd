"""Telling of a build's steps, each with its place among those of its stage."""

from __future__ import annotations

from collections.abc import Callable

from pybuild.builder.events import Progress, StepFinished, StepStarted
from pybuild.builder.graph import BuildGraph, MetaStep, SourceStep


def announcer(graph: BuildGraph, progress: Progress) -> Callable[[int], None]:
    """What tells that work on a step begins: with its place among the steps of its stage that change files."""
    stages: dict[str, list[int]] = {}
    for number, step in enumerate(graph.steps):
        if not isinstance(step, MetaStep):
            stages.setdefault(graph.stage_of(number), []).append(number)

    def announce(number: int) -> None:
        stage = graph.stage_of(number)
        name = "" if len(graph.stages) == 1 else f"stage-{stage}" if stage.isdigit() else stage
        place = stages[stage].index(number) + 1
        progress.emit(StepStarted(number, place, len(stages[stage]), name, graph.steps[number].name))

    return announce


def announce_cached(graph: BuildGraph, at_work: tuple[int, ...], announce: Callable[[int], None], progress: Progress) -> None:
    for number, step in enumerate(graph.steps):
        if number not in at_work and not isinstance(step, MetaStep):
            announce(number)
            progress.emit(StepFinished(number, 0.0, is_cached=not isinstance(step, SourceStep)))
