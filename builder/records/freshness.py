"""Which steps are done anew although their results are known: what the user says, and all that stands on it or reads it. Pure."""

from __future__ import annotations

from difflib import get_close_matches

from pybuild.builder.errors import PlanError
from pybuild.builder.graph import BuildGraph, CopyStep, Root, RunStep


def named_steps(graph: BuildGraph, *, no_cache: bool, stages: tuple[str, ...]) -> frozenset[int]:
    """The steps that the user wants to be done anew, come what may. `stages` are names, or numbers of stages without one.

    Raises PlanError.
    """
    if no_cache:
        return frozenset(range(len(graph.steps)))
    names = {stage.name.lower() for stage in graph.stages}
    for name in stages:
        if name.lower() not in names:
            raise PlanError(f"--no-cache-filter: no stage {name!r} in this build", hint=_hint(name, names))
    wanted = {name.lower() for name in stages}
    return frozenset(number for number in range(len(graph.steps)) if graph.stage_of(number).lower() in wanted)


def fresh_steps(graph: BuildGraph, *, no_cache: bool, stages: tuple[str, ...]) -> frozenset[int]:
    """The steps whose results are not looked up by their keys: those, and all that need them. Raises PlanError.

    What needs them may have a result all the same, if they come out as they were.
    """
    fresh = set(named_steps(graph, no_cache=no_cache, stages=stages))
    for number in range(len(graph.steps)):
        if any(other in fresh for other in inputs(graph, number)):
            fresh.add(number)
    return frozenset(fresh)


def inputs(graph: BuildGraph, number: int) -> tuple[int, ...]:
    """The steps that this one stands on and reads from."""
    step = graph.steps[number]
    if isinstance(step, Root):
        return ()
    origins = tuple(o for o in step.origins if isinstance(o, int)) if isinstance(step, CopyStep | RunStep) else ()
    return origins if isinstance(step, CopyStep) and step.stands_alone else (step.parent, *origins)


def _hint(name: str, names: set[str]) -> str:
    close = get_close_matches(name.lower(), names, 1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    return f"{meant}stages that are built: {', '.join(sorted(names))}"
