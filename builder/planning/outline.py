"""The stages of a Dockerfile and what they refer to: each other, images, build contexts. Which ones the target needs. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from contextlib import suppress

from pybuild.builder.errors import PlanError
from pybuild.builder.planning import mounts, triggers
from pybuild.builder.planning.arguments import file_scope
from pybuild.builder.planning.problems import Problem, Problems
from pybuild.builder.planning.scope import Scope
from pybuild.builder.planning.wanted import Options, Wanted
from pybuild.grammar import DockerfileError, Span
from pybuild.grammar.errors import nearest
from pybuild.grammar.instructions import Copy, Dockerfile, From, Instruction, Run, Stage, Word
from pybuild.registry import Digest, ImageConfig, Platform, Reference
from pybuild.registry.errors import InvalidPlatform, InvalidReference
from pybuild.values import frozen, natural

SCRATCH = "scratch"
_SHOWN_STAGES = 20
_EXPANDED_HINT = "give it a stage of its own, FROM IMAGE AS NAME, and use NAME; FROM may have variables"


@frozen
class Folder:
    """A build context that is a tree of files, by its name as the user gave it; "" is the main one."""

    name: str


@frozen
class Scratch:
    """Nothing: an empty file system."""


# What a stage starts from or reads: a stage above it, by its index, or something from outside.
Origin = int | Wanted | Folder | Scratch


@frozen
class Base:
    """An image that a stage starts from or copies from: its manifest's digest, and its config."""

    digest: Digest
    config: ImageConfig


class Outline:
    """The stages of a file, by what they refer to. What is wrong goes to `problems`, once; what it is about is then None."""

    def __init__(self, dockerfile: Dockerfile, options: Options, known: Mapping[Wanted, Base], problems: Problems) -> None:
        self.dockerfile = dockerfile
        self.options = options
        self.problems = problems
        self._known = known
        self._stages: dict[str, list[int]] = {}
        for stage in dockerfile.stages:
            if stage.start.name is not None:
                self._stages.setdefault(stage.name, []).append(stage.index)
        self._contexts: dict[str, Folder | Scratch | str] = {_canonical(name): name for name in options.images}
        self._contexts |= {_canonical(name): Folder(name) for name in options.folders}
        self._contexts |= {_canonical(name): Scratch() for name in options.empty}
        self.target = target_index(dockerfile, options.target)
        name = dockerfile.stages[self.target].start.name
        shown = options.target or (name.text.lower() if name is not None else "default")
        self.scope: Scope = file_scope(dockerfile, options, shown, problems)
        self._bases: dict[int, Origin | None] = {}
        self._fired: dict[int, tuple[triggers.Trigger, ...]] = {}
        self._origins: dict[tuple[int, str], Origin | None] = {}
        self._similar: dict[str, list[str]] = {}
        self.needed = self._reachable()

    def stage(self, index: int) -> Stage:
        """One stage."""
        return self.dockerfile.stages[index]

    def instructions(self, index: int) -> tuple[Instruction, ...]:
        """What a stage does; nothing when a build context has taken its place."""
        return () if self._replacement(index) is not None else self.stage(index).instructions

    def fired(self, index: int) -> tuple[triggers.Trigger, ...]:
        """What the base of a stage has in store for it, as far as its image is known."""
        if index not in self._fired:
            found: list[triggers.Trigger] = []
            for item in self._in_store(index):
                if isinstance(item, triggers.Trigger):
                    found.append(item)
                else:
                    self.problems.add(item)
            self._fired[index] = tuple(found)
        return self._fired[index]

    def _in_store(self, index: int) -> Iterable[triggers.Trigger | Problem]:
        if self._replacement(index) is not None:
            return ()
        base, span = self.base(index), self.stage(index).start.span
        if isinstance(base, int):
            return triggers.of_stage(base=self.stage(base), scope=self.scope, span=span) if self.instructions(base) else ()
        if isinstance(base, Wanted) and (known := self._known.get(base)) is not None:
            return triggers.of_image(base.name, known.config.config.on_build, self.scope, span)
        return ()

    def _reachable(self) -> tuple[int, ...]:
        reached: set[int] = set()
        pending = [self.target]
        while pending:
            if (index := pending.pop()) not in reached:
                reached.add(index)
                pending += [origin for origin in self.references(index) if isinstance(origin, int)]
        return tuple(sorted(reached))

    def references(self, index: int) -> list[Origin]:
        """All that a stage starts from and reads, in the order of its lines."""
        found = [self.base(index)]
        for trigger in self.fired(index):
            found += self._read(index, trigger.instruction, trigger.scope)
        for instruction in self.instructions(index):
            if isinstance(instruction, Copy | Run):
                found += self._read(index, instruction, self.scope)
        return [origin for origin in found if origin is not None]

    def _read(self, index: int, instruction: Instruction, scope: Scope) -> list[Origin | None]:
        if isinstance(instruction, Copy):
            return [self.origin(index, instruction, scope)]
        if isinstance(instruction, Run) and instruction.flags:
            try:
                return [self.named(index, name, span, scope) for name, span in mounts.origins(scope, instruction)]
            except DockerfileError:
                # It is told of where the step is planned.
                return []
        return []

    # FROM

    def base(self, index: int) -> Origin | None:
        """What a stage starts from."""
        if index not in self._bases:
            try:
                self._bases[index] = self._base(index)
            except (PlanError, DockerfileError) as error:
                self.problems.add(error)
                self._bases[index] = None
        return self._bases[index]

    def platform(self, index: int) -> Platform:
        """What a stage's image is for. Raises PlanError and DockerfileError."""
        flag = self.stage(index).start.flag("platform")
        if flag is None or flag.value is None:
            return self.options.platform
        word = flag.value
        text = self.scope.expand(word, self.scope.global_args)
        try:
            return Platform.parse(text)
        except InvalidPlatform as error:
            raise self.scope.wrong(error.message, word.span, self._unset_hint(word) or error.hint) from None

    def _base(self, index: int) -> Origin:
        start = self.stage(index).start
        name = self.scope.expand(start.image, self.scope.global_args)
        if not name:
            hint = self._unset_hint(start.image) or "an ARG before the first FROM gives it a default"
            raise self.scope.wrong(f"FROM {start.image.text}: there is nothing in it", start.image.span, hint)
        platform = self.platform(index)
        replacement = self._replacement(index)
        if replacement is not None:
            return replacement
        stage = self.earlier(index, name)
        if stage is not None:
            return stage
        if name == SCRATCH:
            return Scratch()
        context = self._context(name, platform)
        if context is not None:
            return context
        self._check_base(index, name, start)
        return Wanted(name, platform)

    def _replacement(self, index: int) -> Wanted | Folder | Scratch | None:
        """The build context that has the name of a stage, and takes its place."""
        name = self.stage(index).start.name
        if name is None or not self._contexts:
            return None
        try:
            platform = self.platform(index)
        except (PlanError, DockerfileError):
            # It is told of as the stage's base is looked for.
            platform = self.options.platform
        return self._context(name.text.lower(), platform)

    def _context(self, name: str, platform: Platform) -> Wanted | Folder | Scratch | None:
        if not self._contexts or name in ("", SCRATCH, "context"):
            return None
        for key in (f"{_canonical(name)}::{platform}", _canonical(name)):
            found = self._contexts.get(key)
            if found is not None:
                return Wanted(name, platform, found) if isinstance(found, str) else found
        return None

    def _check_base(self, index: int, name: str, start: From) -> None:
        try:
            Reference.parse(name)
        except InvalidReference as error:
            hint = self._unset_hint(start.image) or error.hint
            raise self.scope.wrong(error.message, start.image.span, hint) from None

    def _unset_hint(self, word: Word) -> str | None:
        """What to do about a variable in FROM that has no value."""
        for name in self.scope.unset(word, self.scope.global_args):
            close = nearest(name, self.scope.global_args)
            if name in self._declared():
                return f"give it a value: ARG {name}=VALUE, or --build-arg {name}=VALUE"
            return f"no ARG before the first FROM declares {name}" + (f"; did you mean {close}?" if close else "")
        return None

    def _declared(self) -> set[str]:
        return {definition.name for arg in self.dockerfile.arguments for definition in arg.definitions}

    # COPY --from, and from= of a mount

    def earlier(self, index: int, name: str) -> int | None:
        """The stage of this name before stage `index`; of two with one name, the later."""
        indexes = self._stages.get(name.lower(), ())
        place = bisect_left(indexes, index)
        return indexes[place - 1] if place else None

    def origin(self, index: int, copy: Copy, scope: Scope) -> Origin | None:
        """What a COPY or ADD reads."""
        flag = copy.flag("from")
        if flag is None or flag.value is None:
            return Folder("")
        name = flag.value.text
        try:
            if scope.expand(flag.value, {}) != name:
                raise scope.wrong("--from is not expanded", flag.value.span, _EXPANDED_HINT)
        except (DockerfileError, PlanError) as error:
            self._once((index, str(flag.span)), error)
            return None
        return self.named(index, name, flag.value.span, scope)

    def named(self, index: int, name: str, span: Span, scope: Scope) -> Origin | None:
        """What a name in stage `index` means; None when it means nothing, which is then among the problems."""
        stage = self.earlier(index, name)
        if stage is not None:
            return stage
        key = (index, f"{scope.source.name} {name}")
        if key not in self._origins:
            try:
                self._origins[key] = self._outside(index, name, span, scope)
            except PlanError as error:
                self._once(key, error)
        return self._origins[key]

    def _once(self, key: tuple[int, str], error: PlanError | DockerfileError) -> None:
        if key not in self._origins:
            self._origins[key] = None
            self.problems.add(error)

    def _outside(self, index: int, name: str, span: Span, scope: Scope) -> Origin:
        if not name:
            return Folder("")
        if name.isascii() and name.isdigit():
            if (number := natural(name)) is not None and number < index:
                return number
            raise scope.wrong(f"there is no stage {name} before this one", span, self._stages_hint(index, name))
        if any(later >= index for later in self._stages.get(name.lower(), ())):
            raise scope.wrong(f'stage "{name}" is not before this one', span, "a stage copies from those above it")
        if name == SCRATCH:
            return Scratch()
        context = self._context(name, self.options.platform)
        if context is not None:
            return context
        # A misspelt stage would be looked for in a registry, and the answer would be about that.
        if "/" not in name and ":" not in name and self._close(name, index):
            raise scope.wrong(f'no stage named "{name}"', span, self._stages_hint(index, name))
        try:
            Reference.parse(name)
        except InvalidReference as error:
            raise scope.wrong(error.message, span, error.hint) from None
        return Wanted(name, self.options.platform)

    def _close(self, name: str, index: int) -> str | None:
        """The stage before `index` whose name this may be."""
        if name not in self._similar:
            self._similar[name] = _similar(name.lower(), self._stages)
        return next((close for close in self._similar[name] if self._stages[close][0] < index), None)

    def _stages_hint(self, index: int, name: str) -> str:
        close = self._close(name, index)
        return (f'did you mean "{close}"? ' if close else "") + _listed(self.dockerfile.stages[:index])


def target_index(dockerfile: Dockerfile, name: str | None) -> int:
    """The stage that --target names, the last one without it. Raises PlanError."""
    if name is None:
        return len(dockerfile.stages) - 1
    for stage in reversed(dockerfile.stages):
        if stage.start.name is not None and stage.name == name.lower():
            return stage.index
    if (number := natural(name)) is not None and number < len(dockerfile.stages):
        return number
    close = nearest(name.lower(), [stage.name for stage in dockerfile.stages])
    hint = (f'did you mean "{close}"? ' if close else "") + _listed(dockerfile.stages)
    raise PlanError(f'{dockerfile.source.name}: no stage named "{name}" to build', hint=hint)


def _similar(name: str, known: Mapping[str, object]) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(name, list(known), 3, 0.75)


def _listed(stages: tuple[Stage, ...]) -> str:
    shown = ", ".join(stage.name for stage in stages[-_SHOWN_STAGES:]) or "none"
    return f"stages here: {'..., ' if len(stages) > _SHOWN_STAGES else ''}{shown}"


def _canonical(name: str) -> str:
    """One spelling for all spellings of an image's name, with the platform behind it if there is one."""
    head, mark, platform = name.partition("::")
    with suppress(InvalidReference):
        head = str(Reference.parse(head))
    return f"{head}{mark}{platform}"
