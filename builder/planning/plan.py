"""From the Dockerfile to the IR: every step of the stages that the target needs, with nothing left to expand.

Two calls, since the images have to be fetched in between: `needed_images`, again as long as it names new ones, for a base may
have triggers; then `plan` with what was found. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from pybuild.builder.errors import PlanError
from pybuild.builder.graph import BuildGraph, PlannedStage, SourceStep, Step
from pybuild.builder.planning import arguments, copies, epochs, handlers, runs
from pybuild.builder.planning.outline import SCRATCH, Base, Folder, Origin, Outline, Scratch
from pybuild.builder.planning.problems import Problems
from pybuild.builder.planning.scope import Scope, State
from pybuild.builder.planning.triggers import Trigger
from pybuild.builder.planning.wanted import Options, Wanted
from pybuild.grammar import DockerfileError, Span
from pybuild.grammar.instructions import Copy, Dockerfile, Instruction, Run
from pybuild.hints import assert_never
from pybuild.registry import ImageConfig, RunConfig
from pybuild.values import replace

__all__ = ["Base", "Wanted", "needed_images", "plan"]


def needed_images(dockerfile: Dockerfile, options: Options, known: Mapping[Wanted, Base] | None = None) -> tuple[Wanted, ...]:
    """The images that the target needs, in the order of their first use, as far as can be told with those known.

    Raises PlanError and DockerfileError, all with their place, when the Dockerfile cannot be planned with any images.
    """
    problems = Problems()
    outline = Outline(dockerfile, options, known or {}, problems)
    if problems:
        # What else is wrong is told in one go, as far as it does not hang on what the images say.
        _Planner(outline, known or {}).stages_to_target()
        problems.check()
    found: dict[Wanted, None] = {}
    for index in outline.needed:
        found |= {origin: None for origin in outline.references(index) if isinstance(origin, Wanted)}
    return tuple(found)


def plan(dockerfile: Dockerfile, options: Options, bases: Mapping[Wanted, Base]) -> BuildGraph:
    """The steps to the target. `bases` has every image that `needed_images` names.

    Raises PlanError, NotSupported and DockerfileError, all with their place; the first of several has the others behind it.
    """
    problems = Problems()
    outline = Outline(dockerfile, options, bases, problems)
    planner = _Planner(outline, bases)
    planner.stages_to_target()
    epoch = None
    try:
        arguments.check_hostname(outline.scope)
        epochs.dated(dockerfile, outline.scope)
        epoch = epochs.epoch(outline.scope)
    except (PlanError, DockerfileError) as error:
        problems.add(error)
    problems.check()
    return BuildGraph(tuple(planner.steps), tuple(planner.stages), _warnings(outline), epoch)


def _warnings(outline: Outline) -> tuple[str, ...]:
    notices = (notice.on(outline.dockerfile.source) for notice in outline.dockerfile.notices)
    fired = (trigger.instruction for index in outline.needed for trigger in outline.fired(index))
    return (*notices, *arguments.unused(outline.dockerfile, outline.options, fired))


class _Broken(Exception):
    """A line reads what could not be planned; that has been told already."""


class _Planner:
    """Plans one stage after the other. What is wrong goes to the outline's problems."""

    def __init__(self, outline: Outline, bases: Mapping[Wanted, Base]) -> None:
        self.steps: list[Step] = []
        self.stages: list[PlannedStage] = []
        self._outline = outline
        self._bases = bases
        self._ends: dict[int, tuple[State, ImageConfig]] = {}
        self._sources: dict[Wanted | Scratch, int] = {}
        # Stages whose base is not known, and what is built on them: nothing is said of lines that may hang on it.
        self._vague: set[int] = set()

    def stages_to_target(self) -> None:
        """Plan all stages that the target needs."""
        for index in self._outline.needed:
            self._stage(index)

    def _stage(self, index: int) -> None:
        outline, scope, first = self._outline, self._outline.scope, len(self.steps)
        state, image = self._started(index)
        for trigger in outline.fired(index):
            try:
                self._append(state, trigger.told(self._step(index, trigger.scope, state, trigger.instruction, trigger.span)))
            except (PlanError, DockerfileError) as error:
                self._tell(index, trigger.blamed(error), trigger)
            except _Broken:
                pass
        for instruction in outline.instructions(index):
            try:
                self._append(state, self._step(index, scope, state, instruction, instruction.span))
            except (PlanError, DockerfileError) as error:
                self._tell(index, error)
            except _Broken:
                pass
        if index == outline.target:
            state.labels.update(scope.options.labels)
            image = self._for_target(image)
        self._ends[index] = (state, image)
        config = replace(image, config=state.finished(), author=state.author)
        self.stages.append(PlannedStage(outline.stage(index).name, state.last, config, first))

    def _append(self, state: State, step: Step) -> None:
        self.steps.append(step)
        state.last = len(self.steps) - 1

    def _tell(self, index: int, error: PlanError | DockerfileError, trigger: Trigger | None = None) -> None:
        source = error.source
        if index in self._vague and trigger is None and source is not None and error.span is not None:
            # What a variable is may come from the base.
            lines = source.text.split("\n")[error.span.line - 1 : error.span.end_line]
            if any("$" in line for line in lines):
                return
        self._outline.problems.add(error)

    def _step(self, index: int, scope: Scope, state: State, instruction: Instruction, place: Span) -> Step:
        """The step of an instruction in `scope`; `place` is where in the file it comes from."""
        if isinstance(instruction, Run):
            return runs.run(scope, state, instruction, lambda name, span: self._named(index, name, span, scope, place))
        if isinstance(instruction, Copy):
            origin = self._outline.origin(index, instruction, scope)
            return copies.copy(scope, state, instruction, self._read(origin, place), self._added)[1]
        return handlers.HANDLERS[instruction.keyword](scope, state, instruction)

    # Where a stage begins

    def _started(self, index: int) -> tuple[State, ImageConfig]:
        base, start = self._outline.base(index), self._outline.stage(index).start
        platform = self._outline.options.platform
        if isinstance(base, int):
            if base in self._vague:
                self._vague.add(index)
            state, image = self._ends[base]
            return state.fork(), image
        empty = ImageConfig(platform, RunConfig(working_dir="/"))
        text = " ".join(start.original.split())
        if isinstance(base, Wanted) and base in self._bases:
            image = self._bases[base].config
            platform_flag = start.flag("platform")
            shown = str(base.platform) if platform_flag is not None else None
            number = self._source(base, start.span, text, shown, is_shared=False)
        else:
            image = empty
            number = self._source(Scratch(), start.span, text, None, is_shared=False)
            if base is None or isinstance(base, Wanted):
                self._vague.add(index)
        config = image.config
        if not any(item.startswith("PATH=") for item in config.env):
            config = replace(config, env=(*config.env, f"PATH={handlers.DEFAULT_PATH}"))
        state = State(replace(config, on_build=()), image.author, number)
        if isinstance(base, Folder):
            self._append(state, copies.whole(state, base.name, start.span, text))
        return state, image

    def _added(self, step: Step) -> int:
        self.steps.append(step)
        return len(self.steps) - 1

    def _for_target(self, image: ImageConfig) -> ImageConfig:
        """The image is for the platform that was asked for, whatever its base was for."""
        options, was = self._outline.options, image.platform
        wanted = options.platform
        if not options.is_platform_asked:
            return image
        if (wanted.os, wanted.architecture) == (was.os, was.architecture):
            wanted = replace(wanted, variant=wanted.variant or was.variant, os_version=wanted.os_version or was.os_version)
        return replace(image, platform=wanted)

    # What a line reads

    def _named(self, index: int, name: str, span: Span, scope: Scope, place: Span) -> int | str:
        return self._read(self._outline.named(index, name, span, scope), place)

    def _read(self, origin: Origin | None, span: Span) -> int | str:
        """The step that a line reads, or the name of a context."""
        match origin:
            case None:
                raise _Broken
            case int():
                return self._ends[origin][0].last
            case Folder():
                return origin.name
            case Scratch():
                return self._source(origin, span, f"FROM {SCRATCH}", None, is_shared=True)
            case Wanted():
                if origin not in self._bases:
                    raise _Broken
                return self._source(origin, span, f"FROM {origin.name}", None, is_shared=True)
            case _:
                assert_never(origin)

    def _source(self, origin: Wanted | Scratch, span: Span, text: str, platform: str | None, *, is_shared: bool) -> int:
        if is_shared and origin in self._sources:
            return self._sources[origin]
        if isinstance(origin, Wanted):
            step = SourceStep(text, span, origin.name, str(self._bases[origin].digest), platform)
        else:
            step = SourceStep(text, span, SCRATCH, None)
        self.steps.append(step)
        self._sources[origin] = len(self.steps) - 1
        return self._sources[origin]
