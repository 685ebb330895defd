"""What SOURCE_DATE_EPOCH names where it is no number: something from elsewhere that has a time of its own. Pure.

`context` is the main build context; else it is a named one, or a stage that is nothing but one ADD of a URL or a repository.
Source: buildkit, frontend/dockerfile/dockerfile2llb/epoch.go.
"""

from __future__ import annotations

from pybuild.builder.errors import PlanError
from pybuild.builder.graph import GitStep, HttpStep, Step
from pybuild.builder.planning import copies, handlers
from pybuild.builder.planning.arguments import EPOCH, epoch_text
from pybuild.builder.planning.scope import Scope, State
from pybuild.grammar.instructions import Arg, Copy, Dockerfile, Stage
from pybuild.registry import RunConfig
from pybuild.values import natural

_MAIN = "context"
_HINT = "give seconds since 1970, 'context', the name of a build context, or of a stage that is one ADD of a URL or a repository"
# The end of the year 9999: RFC 3339, in which images have their times, goes no further.
_LAST = 253_402_300_799

# The name of a context, "" the main one, or what a stage adds.
Dated = str | HttpStep | GitStep


def dated(dockerfile: Dockerfile, scope: Scope) -> Dated | None:
    """What has the time that SOURCE_DATE_EPOCH means; None when it says a number, or nothing. Raises PlanError."""
    text, options = epoch_text(scope), scope.options
    if not text or _seconds(text) is not None:
        return None
    if text == _MAIN:
        return ""
    if text in (*options.folders, *options.images, *options.empty):
        return text
    stage = next((stage for stage in dockerfile.stages if stage.start.name and stage.name == text.lower()), None)
    if stage is None:
        raise PlanError(f"{EPOCH} is not a time: {text!r}", hint=_HINT)
    return _of_stage(stage, scope)


def epoch(scope: Scope) -> int | None:
    """The time that SOURCE_DATE_EPOCH says, in seconds since 1970, as far as it is known by now."""
    return _seconds(epoch_text(scope))


def _seconds(text: str) -> int | None:
    number = natural(text)
    return number if number is not None and number <= _LAST else None


def _of_stage(stage: Stage, scope: Scope) -> HttpStep | GitStep:
    if scope.expand(stage.start.image, scope.global_args) != "scratch":
        raise scope.wrong(f"{EPOCH} names this stage, which is not FROM scratch", stage.start.span, _HINT)
    state, steps = State(RunConfig(), None, 0), list[Step]()
    for name, value in scope.global_args.items():
        if name != EPOCH:
            state.set_argument(name, value)

    def add(step: Step) -> int:
        steps.append(step)
        return len(steps)

    for instruction in stage.instructions:
        if isinstance(instruction, Arg):
            handlers.HANDLERS[instruction.keyword](scope, state, instruction)
        elif isinstance(instruction, Copy) and instruction.keyword == "ADD" and not steps:
            copies.copy(scope, state, instruction, "", add)
            if len(steps) != 1 or len(instruction.sources) + len(instruction.heredocs) != 1:
                raise scope.wrong(f"{EPOCH} names this stage, and here is not one URL or repository", instruction.span, _HINT)
        else:
            raise scope.wrong(f"{EPOCH} names this stage, which is more than one ADD", instruction.span, _HINT)
    if not steps:
        raise scope.wrong(f"{EPOCH} names this stage, which has no ADD", stage.start.span, _HINT)
    assert isinstance(steps[0], HttpStep | GitStep)
    return steps[0]
