"""ONBUILD: the instructions that a base has in store for what is built on it. Pure.

They are carried out right behind FROM, in their order, in the scope that is there, and once: what is built on the result has
none of them. Source: BuildKit, initOnBuildTriggers.
"""

from __future__ import annotations

from collections.abc import Iterator

from pybuild.builder.graph import Step
from pybuild.builder.planning.problems import Problem
from pybuild.builder.planning.scope import Scope
from pybuild.grammar import DockerfileError, Source, Span, parse_instruction
from pybuild.grammar.instructions import Instruction, OnBuild, Stage
from pybuild.values import frozen, replace


@frozen
class Trigger:
    """One instruction of a base: in the scope of its own text, for a FROM at `span` that sets it off."""

    instruction: Instruction
    scope: Scope
    span: Span
    file: Source

    def told(self, step: Step) -> Step:
        """The step with the place in this file that it comes from, and its name."""
        return replace(step, span=self.span, name=f"ONBUILD {step.name}")

    def blamed(self, problem: Problem) -> Problem:
        """An error in the trigger, with the FROM that set it off."""
        return blamed(problem, self.file, self.span)


def of_stage(base: Stage, scope: Scope, span: Span) -> Iterator[Trigger | Problem]:
    """The triggers of an earlier stage of the same file."""
    for item in base.instructions:
        if isinstance(item, OnBuild) and item.inner is not None:
            yield Trigger(item.inner, scope, span, scope.source)
        elif isinstance(item, OnBuild):
            yield from of_image(base.name, (item.text,), scope, span)


def of_image(name: str, texts: tuple[str, ...], scope: Scope, span: Span) -> Iterator[Trigger | Problem]:
    """The triggers of an image, out of its config, and in the place of one that means nothing what is wrong with it."""
    for text in texts:
        # Which escape character the image's own file had, nobody has written down.
        own = replace(scope, source=Source(f"ONBUILD of {name}", text), escape="\\")
        try:
            instruction = parse_instruction(own.source)
        except DockerfileError as error:
            yield blamed(error, scope.source, span)
            continue
        if isinstance(instruction, OnBuild) or instruction.keyword in ("FROM", "MAINTAINER"):
            message = f"{instruction.keyword} cannot be a trigger, and {name} has one"
            yield scope.wrong(message, span, "build the base anew, without it")
        else:
            yield Trigger(instruction, own, span, scope.source)


def blamed(problem: Problem, file: Source, span: Span) -> Problem:
    """An error in a trigger, with the FROM that set it off."""
    message = f"{problem.message} (a trigger, set off by {file.name}:{span.line})"
    return type(problem)(message, span=problem.span, source=problem.source, hint=problem.hint)  # type: ignore[arg-type]
