"""A file read line by line as a build would, as far as rules ask: what each line's words come to, and what stood before it.

Nothing is an error here: a word without a value has none, and an image that nobody knows has an unknown environment. Pure.
"""

from __future__ import annotations

import contextlib
import posixpath
from bisect import bisect_left
from collections.abc import Mapping

from pybuild.builder.lint.looking import Looked, body_place, close_to, look, look_split
from pybuild.builder.lint.parts import expanded, origins, read_platform
from pybuild.builder.lint.seen import Given, Head, Known, Line, Missing, Mounted, Used, View
from pybuild.builder.planning.arguments import platform_args
from pybuild.grammar import DockerfileError, Source, Span, parse
from pybuild.grammar.comments import surroundings
from pybuild.grammar.instructions import Arg, Copy, Dockerfile, Instruction, OnBuild, Pairs, Run, Stage, Start, Word, Words
from pybuild.grammar.mounts import parse_mount
from pybuild.registry import Platform
from pybuild.registry.reference import same_image
from pybuild.values import natural

SCRATCH = "scratch"
_MOST_GUESSES = 50_000
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def view(dockerfile: Dockerfile, known: Known) -> View:
    """A file as rules see it. Raises nothing for a file that parses."""
    walk = _Walk(dockerfile, known)
    walk.run()
    return View(
        dockerfile,
        walk.text,
        known,
        surroundings(dockerfile.source),
        tuple(walk.heads),
        tuple(walk.lines),
        tuple(walk.images),
        walk.arguments,
        tuple(walk.declared),
        tuple(dict.fromkeys(walk.unknown)),
        tuple(walk.given),
        tuple(walk.mounts),
        {index: tuple(found) for index, found in walk.needs.items()},
    )


def images_of(dockerfile: Dockerfile, known: Known) -> tuple[tuple[str, Platform], ...]:
    """The images that a file starts from and copies from, as it names them, and the platforms that they should be for."""
    walk = _Walk(dockerfile, known)
    walk.run()
    return tuple(dict.fromkeys(walk.named))


class _State:
    """A stage while it is read. `variables` has what words see, the last that was set at the end; `env` what the config has."""

    def __init__(self, env: dict[str, str], *, directory: str | None = "/", is_known: bool = True) -> None:
        self.variables = dict(env)
        self.env = env
        self.declared: set[str] = set()
        self.shell: tuple[str, ...] | None = None
        self.directory = directory
        self.has_workdir = False
        self.is_known = is_known
        self.triggers: tuple[str, ...] = ()

    def put(self, name: str, value: str) -> None:
        self.variables.pop(name, None)
        self.variables[name] = value

    def continued(self) -> _State:
        """The state at the beginning of a stage that builds on this one."""
        found = _State(dict(self.env), directory=self.directory, is_known=self.is_known)
        found.variables = dict(self.variables)
        found.declared = set(self.declared)
        found.shell, found.has_workdir = self.shell, self.has_workdir
        for name, value in found.env.items():
            found.put(name, value)
        return found


class _Walk:
    def __init__(self, dockerfile: Dockerfile, known: Known) -> None:
        self.dockerfile, self.known, self.escape = dockerfile, known, dockerfile.escape
        self.text = tuple(dockerfile.source.text.split("\n"))
        self.heads: list[Head] = []
        self.lines: list[Line] = []
        self.images: list[Used] = []
        self.declared: dict[str, None] = {}
        self.unknown: list[str] = []
        self.named: list[tuple[str, Platform]] = []
        self.given: list[Given] = []
        self.mounts: list[Mounted] = []
        self.needs: dict[int, list[int]] = {}
        last = dockerfile.stages[-1].start.name
        name = known.target or (last.text.lower() if last else "default")
        given = dict(known.build_args)
        own = platform_args(known.platform, Platform.here(), name)
        own = {name: given.get(name, value) for name, value in own.items()}
        self.arguments = self._globals(own, given)
        self._plain = self._globals(own, {})
        self._states: dict[int, _State] = {}
        self._guesses = _MOST_GUESSES
        self._indices: dict[str, list[int]] = {}
        for stage in dockerfile.stages:
            if stage.start.name is not None:
                self._indices.setdefault(stage.name, []).append(stage.index)

    def _globals(self, own: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
        found = dict(own)
        for definition in (definition for arg in self.dockerfile.arguments for definition in arg.definitions):
            self.declared[definition.name] = None
            value = given.get(definition.name)
            if value is None and definition.value is not None:
                value = look(definition.value, found, self.escape).value
            if value is not None:
                found[definition.name] = value
        return found

    def run(self) -> None:
        for stage in self.dockerfile.stages:
            self.heads.append(self._head(stage))
        needed = self._needed()
        for stage in self.dockerfile.stages:
            if stage.index in needed:
                self._stage(stage)

    def _head(self, stage: Stage) -> Head:
        start = stage.start
        image = look(start.image, self.arguments, self.escape)
        flag = start.flag("platform")
        platform = look(flag.value, self.arguments, self.escape) if flag and flag.value else None
        base: int | str | None = image.value or None
        if base is not None and (earlier := self._earlier(stage.index, str(base))) is not None:
            base = earlier
        return Head(stage, image, look(start.image, self._plain, self.escape), platform, base)

    def _earlier(self, index: int, name: str) -> int | None:
        """The stage of this name before stage `index`; of two with one name, the later."""
        indices = self._indices.get(name.lower(), [])
        place = bisect_left(indices, index)
        return indices[place - 1] if place else None

    def _needed(self) -> set[int]:
        """The stages that the target needs; all of them without a target."""
        stages = self.dockerfile.stages
        target = self.known.target
        if target is None and not self.known.only_needed:
            return set(range(len(stages)))
        found = len(stages) - 1 if target is None else self._earlier(len(stages), target)
        if found is None and target is not None and (number := natural(target)) is not None and number < len(stages):
            found = number
        needed: set[int] = set()
        pending = [] if found is None else [found]
        while pending:
            index = pending.pop()
            if index in needed:
                continue
            needed.add(index)
            base = self.heads[index].base
            pending += [base] if isinstance(base, int) else []
            for instruction in stages[index].instructions:
                pending += [origin for name in origins(instruction) if (origin := self._origin(index, name)) is not None]
        return needed

    def _origin(self, index: int, name: str) -> int | None:
        if name.isascii() and name.isdigit():
            number = natural(name)
            return number if number is not None and number < index else None
        return self._earlier(index, name)

    def _is_folder(self, name: str) -> bool:
        return any(same_image(folder, name) for folder in self.known.folders)

    def _stage(self, stage: Stage) -> None:
        base = self.heads[stage.index].base
        self.needs[stage.index] = [base] if isinstance(base, int) else []
        state = self._started(stage)
        latest: dict[str, Span] = {}
        for text in state.triggers:
            if (trigger := _trigger(text)) is not None:
                self._line(stage, state, trigger, latest, is_trigger=True)
        # A trigger fires once, in the stage right on top.
        state.triggers = ()
        for instruction in stage.instructions:
            self._line(stage, state, instruction, latest, is_trigger=False)
        self._states[stage.index] = state

    def _started(self, stage: Stage) -> _State:
        head = self.heads[stage.index]
        if isinstance(head.base, int):
            before = self._states[head.base]
            state = before.continued()
            state.triggers = before.triggers
            return state
        name = head.base
        if name is None or name == SCRATCH or self._is_folder(name):
            # A folder as a base has no environment of its own.
            return _State({"PATH": _PATH}, directory=None if name != SCRATCH else "/", is_known=name is not None)
        platform = read_platform(head.platform.value or "") if head.platform is not None else self.known.platform
        self.named.append((name, platform or self.known.platform))
        config = self.known.base(*self.named[-1])
        if config is None:
            self.unknown.append(name)
            return _State({"PATH": _PATH}, directory=None, is_known=False)
        if platform is not None:
            self.images.append(Used(name, config, stage.start.span, platform))
        env = config.config.environment
        env.setdefault("PATH", _PATH)
        run = config.config
        state = _State(env, directory=run.working_dir or "/")
        state.shell, state.triggers = run.shell, run.on_build
        return state

    def _line(self, stage: Stage, state: _State, instruction: Instruction, latest: dict[str, Span], *, is_trigger: bool) -> None:
        before = latest.get(instruction.keyword)
        had_workdir, directory = state.has_workdir, state.directory
        values, missing = self._values(stage, state, instruction)
        blamed = tuple(Missing(item.name, stage.start.span, item.close) for item in missing) if is_trigger else missing
        line = Line(stage, instruction, values, blamed, before, state.shell, directory, had_workdir, state.is_known, is_trigger)
        self.lines.append(line)
        latest[instruction.keyword] = line.place or instruction.span
        if isinstance(instruction, Start) and instruction.keyword == "SHELL":
            state.shell = instruction.command.words
        elif isinstance(instruction, OnBuild):
            state.triggers = (*state.triggers, instruction.text)
        elif instruction.keyword == "WORKDIR":
            state.has_workdir = True
            path = values[0] or ""
            absolute = path.startswith("/")
            state.directory = posixpath.normpath(posixpath.join(directory or "/", path)) if directory or absolute else None
        for name in origins(instruction):
            if (origin := self._origin(stage.index, name)) is not None:
                self.needs[stage.index].append(origin)
                continue
            if name == SCRATCH or name.isdigit() or self._is_folder(name):
                continue
            self.named.append((name, self.known.platform))
            if (config := self.known.base(name, self.known.platform)) is not None:
                self.images.append(Used(name, config, line.place or instruction.span, self.known.platform))

    def _values(
        self, stage: Stage, state: _State, instruction: Instruction
    ) -> tuple[tuple[str | None, ...], tuple[Missing, ...]]:
        """The words of an instruction that it expands, and the variables that none of them finds."""
        if isinstance(instruction, Arg):
            return self._arguments(stage, state, instruction)
        if instruction.keyword == "EXPOSE" and isinstance(instruction, Words):
            ports: list[str | None] = []
            for word in instruction.words:
                ports += look_split(word, state.variables, self.escape)
            return tuple(ports), ()
        looked = [look(word, state.variables, self.escape) for word in expanded(instruction)]
        missing = self._missing(looked, state)
        if isinstance(instruction, Copy):
            missing += self._missing_in_bodies(state, instruction)
            # The destination is the last of them.
            return tuple(item.value for item in looked[-1 - len(instruction.sources) : -1]), missing
        if isinstance(instruction, Run):
            self._mount(stage, state, instruction)
        values = tuple(item.value for item in looked)
        if isinstance(instruction, Pairs) and instruction.keyword == "ENV":
            for name, value in zip(values[::2], values[1::2], strict=True):
                state.put(name or "", value or "")
                state.env[name or ""] = value or ""
        return values, missing

    def _missing_in_bodies(self, state: _State, copy: Copy) -> tuple[Missing, ...]:
        found: tuple[Missing, ...] = ()
        first = copy.span.end_line + 1
        for heredoc in copy.heredocs:
            if heredoc.expand:
                looked = look(Word(heredoc.content, heredoc.span), state.variables, self.escape, is_raw=True)
                for item in self._missing([looked], state):
                    found += (Missing(item.name, body_place(heredoc, first, item.name, self.text), item.close),)
            first += heredoc.content.count("\n") + 1
        return found

    def _missing(self, looked: list[Looked], state: _State) -> tuple[Missing, ...]:
        found = []
        for item in looked:
            for name in item.missed:
                if name not in state.declared:
                    # A guess costs what there are names: a program's file, with thousands of both, gets a few and is done.
                    self._guesses -= len(state.variables)
                    close = close_to(name, state.variables) if self._guesses > 0 else None
                    found.append(Missing(name, item.place(name), close))
        return tuple(found)

    def _mount(self, stage: Stage, state: _State, run: Run) -> None:
        for flag in run.flags:
            if flag.name != "mount" or flag.value is None:
                continue
            span = flag.value.span

            def expanded(text: str, span: Span = span) -> str:
                return look(Word(text, span), state.variables, self.escape).value or ""

            with contextlib.suppress(DockerfileError):
                mount = parse_mount(flag.value.text, span=span, expand=expanded)
                self.mounts.append(Mounted(stage.index, run, mount))

    def _arguments(self, stage: Stage, state: _State, arg: Arg) -> tuple[tuple[str | None, ...], tuple[Missing, ...]]:
        given = dict(self.known.build_args)
        missing: tuple[Missing, ...] = ()
        for definition in arg.definitions:
            value = given.get(definition.name)
            is_inherited = value is None and definition.value is None and definition.name in self.arguments
            if value is None and definition.value is not None:
                looked = look(definition.value, state.variables, self.escape)
                missing += self._missing([looked], state)
                value = looked.value
            elif value is None:
                value = self.arguments.get(definition.name)
            if value is not None:
                state.put(definition.name, value)
            self.given.append(Given(stage.index, arg, definition.name, value, is_inherited))
            state.declared.add(definition.name)
        return tuple(definition.name for definition in arg.definitions), missing


def _trigger(text: str) -> Instruction | None:
    """The instruction that ONBUILD keeps; None for one that an image brought and that does not parse."""
    try:
        return parse(Source("ONBUILD", f"FROM {SCRATCH}\n{text}\n")).stages[0].instructions[0]
    except (DockerfileError, IndexError):
        return None
