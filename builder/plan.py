"""From the Dockerfile to the IR: which stages the target needs, on which images, and every step with nothing left to expand.

Two calls, since the images have to be fetched in between: `needed_images`, then `plan` with what was found. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pybuild.builder import copies, handlers
from pybuild.builder.errors import PlanError
from pybuild.builder.graph import BuildGraph, PlannedStage, SourceStep, Step
from pybuild.builder.scope import Options, Scope, State, is_known_argument, platform_args
from pybuild.grammar import Span
from pybuild.grammar.instructions import Arg, Copy, Dockerfile, Instruction, Stage, Word
from pybuild.registry import Digest, ImageConfig, Platform, Reference, RunConfig
from pybuild.registry.errors import InvalidReference
from pybuild.registry.reference import same_image
from pybuild.registry.values import replace

SCRATCH = "scratch"


@dataclass(frozen=True, slots=True)
class Base:
    """An image that a stage starts from or copies from: its manifest's digest, and its config."""

    digest: Digest
    config: ImageConfig


def needed_images(dockerfile: Dockerfile, options: Options) -> tuple[str, ...]:
    """The images that the target needs, as the Dockerfile names them, in the order of their first use."""
    outline = _Outline.of(dockerfile, options)
    found: dict[str, None] = {}
    for index in outline.needed:
        base = outline.base(index)
        if isinstance(base, str) and base != SCRATCH:
            found.setdefault(base)
        for instruction in outline.stage(index).instructions:
            if isinstance(instruction, Copy):
                origin = outline.origin(index, instruction)
                if origin and isinstance(origin, str) and outline.folder(origin) is None:
                    found.setdefault(origin)
    return tuple(found)


def plan(dockerfile: Dockerfile, options: Options, bases: Mapping[str, Base]) -> BuildGraph:
    """The steps to the target. `bases` has every image that `needed_images` names.

    Raises PlanError, NotSupported and DockerfileError, all with their place.
    """
    outline = _Outline.of(dockerfile, options)
    planner = _Planner(outline, bases)
    for index in outline.needed:
        planner.stage(index)
    return BuildGraph(tuple(planner.steps), tuple(planner.stages), _warnings(dockerfile, options, outline.scope))


@dataclass(frozen=True, slots=True)
class _Outline:
    """The stages and how they refer to each other."""

    dockerfile: Dockerfile
    scope: Scope
    needed: tuple[int, ...] = ()

    @classmethod
    def of(cls, dockerfile: Dockerfile, options: Options) -> _Outline:
        target = target_index(dockerfile, options.target)
        name = options.target or (dockerfile.stages[target].start.name or Word("default", dockerfile.stages[0].start.span)).text
        scope = Scope(dockerfile.source, dockerfile.escape, options, platform_args(options.platform, Platform.here(), name))
        given: dict[str, str] = {}
        for definition in (definition for arg in dockerfile.arguments for definition in arg.definitions):
            value = scope.build_args.get(definition.name)
            if value is None and definition.value is not None:
                value = scope.expand(definition.value, {**scope.global_args, **given})
            if value is not None:
                given[definition.name] = value
        outline = cls(dockerfile, replace(scope, global_args={**scope.global_args, **given}))
        reached: set[int] = set()
        pending = [target]
        while pending:
            if (index := pending.pop()) not in reached:
                reached.add(index)
                pending += outline.references(index)
        return replace(outline, needed=tuple(sorted(reached)))

    def stage(self, index: int) -> Stage:
        return self.dockerfile.stages[index]

    def references(self, index: int) -> list[int]:
        """The earlier stages that a stage needs."""
        copies = (item for item in self.stage(index).instructions if isinstance(item, Copy))
        named = [self.base(index), *(self.origin(index, copy) for copy in copies)]
        return [reference for reference in named if isinstance(reference, int)]

    def earlier(self, index: int, name: str) -> int | None:
        """The stage of this name before stage `index`; of two with one name, the later."""
        for stage in reversed(self.dockerfile.stages[:index]):
            if stage.start.name is not None and stage.name == name.lower():
                return stage.index
        return None

    def base(self, index: int) -> int | str:
        """What a stage starts from: an earlier stage, or an image's name."""
        start = self.stage(index).start
        name = self.scope.expand(start.image, self.scope.global_args)
        if not name:
            raise self.scope.wrong(
                f"FROM {start.image.text}: there is nothing in it",
                start.image.span,
                "an ARG before the first FROM gives it a default",
            )
        stage = self.earlier(index, name)
        return name if stage is None else stage

    def origin(self, index: int, copy: Copy) -> int | str:
        """What a COPY reads: "" for the main context, an earlier stage, or the name of an image or folder."""
        flag = copy.flag("from")
        if flag is None or flag.value is None:
            return ""
        name = self.scope.expand(flag.value, self.scope.global_args)
        stage = self.earlier(index, name)
        if stage is not None:
            return stage
        if name.isdigit():
            if int(name) < index:
                return int(name)
            raise self.scope.wrong(f"there is no stage {name} before this one", flag.value.span, self._stages_hint(index, name))
        later = [stage.name for stage in self.dockerfile.stages[index:] if stage.start.name is not None]
        if name.lower() in later:
            raise self.scope.wrong(
                f'stage "{name}" is not before this one', flag.value.span, "a stage copies from those above it"
            )
        if self.folder(name) is None:
            self._check_image(name, flag.value.span, index)
        return name

    def folder(self, name: str) -> str | None:
        """The name of the build context that is a folder and is meant by `name`."""
        return next((folder for folder in self.scope.options.folders if same_image(folder, name)), None)

    def _check_image(self, name: str, span: Span, index: int) -> None:
        close = self._close(index, name)
        # A misspelt stage would be looked for in a registry, and the answer would be about that.
        if close and "/" not in name and ":" not in name:
            raise self.scope.wrong(f'no stage named "{name}"', span, self._stages_hint(index, name))
        try:
            Reference.parse(name)
        except InvalidReference as error:
            raise self.scope.wrong(error.message, span, error.hint) from None

    def _close(self, index: int, name: str) -> list[str]:
        names = [stage.name for stage in self.dockerfile.stages[:index] if stage.start.name is not None]
        from difflib import get_close_matches

        return get_close_matches(name.lower(), names, 1, 0.75)

    def _stages_hint(self, index: int, name: str) -> str:
        close = self._close(index, name)
        stages = ", ".join(stage.name for stage in self.dockerfile.stages[:index]) or "none"
        return (f'did you mean "{close[0]}"? ' if close else "") + f"stages here: {stages}"


def target_index(dockerfile: Dockerfile, name: str | None) -> int:
    """The stage that --target names, the last one without it. Raises PlanError."""
    if name is None:
        return len(dockerfile.stages) - 1
    for stage in reversed(dockerfile.stages):
        if stage.start.name is not None and stage.name == name.lower():
            return stage.index
    if name.isdigit() and int(name) < len(dockerfile.stages):
        return int(name)
    names = [stage.name for stage in dockerfile.stages]
    from difflib import get_close_matches

    close = get_close_matches(name.lower(), names, 1)
    hint = (f'did you mean "{close[0]}"? ' if close else "") + f"stages here: {', '.join(names)}"
    raise PlanError(f'{dockerfile.source.name}: no stage named "{name}" to build', hint=hint)


@dataclass(slots=True)
class _Planner:
    outline: _Outline
    bases: Mapping[str, Base]
    steps: list[Step] = field(default_factory=list)
    stages: list[PlannedStage] = field(default_factory=list)
    _ends: dict[int, tuple[State, ImageConfig]] = field(default_factory=dict)
    _images: dict[str, int] = field(default_factory=dict)

    def stage(self, index: int) -> None:
        """Plan one stage; those that it needs are planned already."""
        stage, scope = self.outline.stage(index), self.outline.scope
        self._check_flags(stage.start)
        base = self.outline.base(index)
        if isinstance(base, int):
            state, image = self._ends[base]
            state = replace(state, has_cmd=False)
        else:
            state, image = self._started(base, stage)
        for instruction in stage.instructions:
            self._check_flags(instruction)
            if isinstance(instruction, Copy):
                state, step = copies.copy(scope, state, instruction, self._origin(index, instruction))
            elif handler := handlers.HANDLERS.get(instruction.keyword):
                state, step = handler(scope, state, instruction)
            else:
                raise scope.unsupported(instruction.keyword, instruction.span)
            self.steps.append(step)
            state = replace(state, last=len(self.steps) - 1)
        if index == self.outline.needed[-1] and scope.options.labels:
            state = state.configured(labels=tuple((dict(state.config.labels) | dict(scope.options.labels)).items()))
        self._ends[index] = (state, image)
        config = replace(image, config=state.config, author=state.author)
        self.stages.append(PlannedStage(stage.name, state.last, config))

    def _started(self, name: str, stage: Stage) -> tuple[State, ImageConfig]:
        scope = self.outline.scope
        span = stage.start.image.span
        if self.outline.folder(name) is not None:
            raise scope.unsupported(f"FROM a folder ({name})", span, "COPY --from it onto FROM scratch")
        if name == SCRATCH:
            image = ImageConfig(scope.options.platform, RunConfig(working_dir="/"))
        else:
            image = self.bases[name].config
            if image.config.on_build:
                raise scope.unsupported(f"{name} has ONBUILD triggers, which", span)
        number = self._source(name, stage.start.span, " ".join(stage.start.original.split()), shared=False)
        config = image.config
        if not any(item.startswith("PATH=") for item in config.env):
            config = replace(config, env=(*config.env, f"PATH={handlers.DEFAULT_PATH}"))
        return State(config, image.author, number), image

    def _origin(self, index: int, copy: Copy) -> int | str:
        """The step that a COPY reads, or the name of a folder."""
        origin = self.outline.origin(index, copy)
        if isinstance(origin, int):
            return self._ends[origin][0].last
        folder = self.outline.folder(origin)
        if origin == "" or folder is not None:
            return folder or ""
        return self._source(origin, copy.span, f"FROM {origin}", shared=True)

    def _source(self, name: str, span: Span, text: str, *, shared: bool) -> int:
        if shared and name in self._images:
            return self._images[name]
        digest = None if name == SCRATCH else str(self.bases[name].digest)
        self.steps.append(SourceStep(text, span, name, digest))
        self._images[name] = len(self.steps) - 1
        return len(self.steps) - 1

    def _check_flags(self, instruction: Instruction) -> None:
        scope = self.outline.scope
        for flag in instruction.flags:
            if flag.name not in handlers.FLAGS.get(instruction.keyword, ()):
                raise scope.unsupported(f"{instruction.keyword} --{flag.name}", flag.span)
            if instruction.keyword == "FROM" and flag.value is not None:
                wanted = scope.expand(flag.value, scope.global_args)
                if wanted != str(scope.options.platform):
                    raise scope.unsupported(f"FROM --platform={wanted}", flag.span, "leave it out, or build with --platform")


def _warnings(dockerfile: Dockerfile, options: Options, scope: Scope) -> tuple[str, ...]:
    declared = {definition.name for arg in dockerfile.arguments for definition in arg.definitions}
    for stage in dockerfile.stages:
        for instruction in stage.instructions:
            if isinstance(instruction, Arg):
                declared |= {definition.name for definition in instruction.definitions}
    unused = [name for name, _ in options.build_args if name not in declared and not is_known_argument(name)]
    return tuple(f"--build-arg {name}: no ARG of this name is in {scope.source.name}" for name in unused)
