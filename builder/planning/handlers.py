"""What each instruction does to a stage: one function each, which changes the state and gives the step that the line becomes.
Which function is whose stands in HANDLERS. Pure.

The history's spelling (`created_by`) is BuildKit's, so that other tools show it well.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Callable

from pybuild.builder.contexts.paths import joined
from pybuild.builder.graph import MetaStep, Pairs, Step, WorkdirStep
from pybuild.builder.planning import spelling
from pybuild.builder.planning.ports import exposed
from pybuild.builder.planning.scope import Scope, State
from pybuild.grammar import DockerfileError, split
from pybuild.grammar.errors import nearest
from pybuild.grammar.instructions import Arg, Command, Healthcheck, Instruction, OnBuild, Start, Words
from pybuild.grammar.instructions import Pairs as PairsInstruction
from pybuild.registry import config

Handler = Callable[[Scope, State, Instruction], Step]

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DEFAULT_SHELL = ("/bin/sh", "-c")
# The names that Linux has for its signals; SIG before them is left out as often as not.
_SIGNALS = frozenset(
    [
        "ABRT",
        "ALRM",
        "BUS",
        "CHLD",
        "CLD",
        "CONT",
        "FPE",
        "HUP",
        "ILL",
        "INT",
        "IO",
        "IOT",
        "KILL",
        "PIPE",
        "POLL",
        "PROF",
        "PWR",
        "QUIT",
        "SEGV",
        "STKFLT",
        "STOP",
        "SYS",
        "TERM",
        "TRAP",
        "TSTP",
        "TTIN",
        "TTOU",
        "URG",
        "USR1",
        "USR2",
        "VTALRM",
        "WINCH",
        "XCPU",
        "XFSZ",
        "RTMIN",
        "RTMAX",
    ]
) | {*(f"RTMIN+{number}" for number in range(1, 16)), *(f"RTMAX-{number}" for number in range(1, 15))}
_SIGNAL_NUMBER = re.compile(r"[+-]?0*[1-9][0-9]{0,8}", re.ASCII)


def title(instruction: Instruction) -> str:
    """The instruction on one line, as progress shows it."""
    return " ".join(instruction.original.split())


def commanded(state: State, command: Command) -> tuple[str, ...]:
    """A command as a list: the shell form behind the shell that SHELL says."""
    return command.words if command.is_json else (*(state.config.shell or _DEFAULT_SHELL), *(command.words or ("",)))


def _meta(state: State, instruction: Instruction, created_by: str) -> MetaStep:
    return MetaStep(title(instruction), instruction.span, state.last, created_by)


def _arg(scope: Scope, state: State, instruction: Instruction) -> Step:
    assert isinstance(instruction, Arg)
    found: dict[str, str | None] = {}
    given: dict[str, str] = {}
    variables = ChainMap(given, state.variables)
    said = []
    for definition in instruction.definitions:
        name = definition.name
        value = scope.build_args.get(name)
        if value is None and definition.value is not None:
            value = scope.expand(definition.value, variables)
        elif value is None:
            value = scope.global_args.get(name)
        said.append(name if value is None else f"{name}={value}")
        found[name] = value if value is not None else found.get(name)
        if value is not None:
            given[name] = value
    for name, value in found.items():
        state.set_argument(name, value)
    return _meta(state, instruction, "ARG " + " ".join(said))


def _pairs(scope: Scope, state: State, instruction: Instruction) -> Pairs:
    """All values of one line are expanded with the variables from before it."""
    assert isinstance(instruction, PairsInstruction)
    variables = state.variables
    return tuple((scope.expand(pair.name, variables), scope.expand(pair.value, variables)) for pair in instruction.pairs)


def _env(scope: Scope, state: State, instruction: Instruction) -> Step:
    pairs = _pairs(scope, state, instruction)
    state.set_env(pairs)
    return _meta(state, instruction, "ENV " + " ".join(f"{name}={value}" for name, value in pairs))


def _label(scope: Scope, state: State, instruction: Instruction) -> Step:
    pairs = _pairs(scope, state, instruction)
    state.labels.update(pairs)
    return _meta(state, instruction, "LABEL " + " ".join(f"{name}={value}" for name, value in pairs))


def _cmd(scope: Scope, state: State, instruction: Instruction) -> Step:
    assert isinstance(instruction, Start)
    words = commanded(state, instruction.command)
    # An empty array clears what the base has.
    state.configured(cmd=words or None)
    state.has_cmd = True
    return _meta(state, instruction, f"CMD {spelling.quoted(words)}")


def _entrypoint(scope: Scope, state: State, instruction: Instruction) -> Step:
    assert isinstance(instruction, Start)
    words = commanded(state, instruction.command)
    # A CMD of the base was meant for the base's entrypoint; one of this file stays.
    state.configured(entrypoint=words or None, cmd=state.config.cmd if state.has_cmd else None)
    return _meta(state, instruction, f"ENTRYPOINT {spelling.quoted(words)}")


def _shell(scope: Scope, state: State, instruction: Instruction) -> Step:
    assert isinstance(instruction, Start)
    words = instruction.command.words
    state.configured(shell=words)
    return _meta(state, instruction, f"SHELL [{' '.join(words)}]")


def _healthcheck(scope: Scope, state: State, instruction: Instruction) -> Step:
    assert isinstance(instruction, Healthcheck)
    command = instruction.command
    if command is None:
        health = config.Healthcheck(("NONE",))
    else:
        test = ("CMD" if command.is_json else "CMD-SHELL", *command.words)
        times = (instruction.interval, instruction.timeout, instruction.start_period, instruction.start_interval)
        health = config.Healthcheck(test, *times, instruction.retries)
    state.configured(healthcheck=health)
    return _meta(state, instruction, f"HEALTHCHECK {spelling.healthcheck(health)}")


def _onbuild(scope: Scope, state: State, instruction: Instruction) -> Step:
    assert isinstance(instruction, OnBuild)
    state.triggers.append(instruction.text)
    # It tells nothing of this image, and BuildKit's history has no word of it.
    return _meta(state, instruction, "")


def _expose(scope: Scope, state: State, instruction: Instruction) -> Step:
    assert isinstance(instruction, Words)
    ports: list[str] = []
    # Sorted as written, before anything is expanded: BuildKit's order, which the history shows.
    for word in sorted(instruction.words, key=lambda word: word.text):
        try:
            texts = split(word.text, state.variables, escape=scope.escape)
        except DockerfileError as error:
            raise scope.located(error, word.span) from error
        for text in texts:
            try:
                ports += exposed(text)
            except ValueError as error:
                raise scope.wrong(str(error), word.span, "write PORT, PORT/udp or FIRST-LAST/tcp") from None
    state.ports.update(dict.fromkeys(ports))
    return _meta(state, instruction, f"EXPOSE [{' '.join(ports)}]")


def _volume(scope: Scope, state: State, instruction: Instruction) -> Step:
    assert isinstance(instruction, Words)
    volumes = tuple(scope.expand(word, state.variables).strip() for word in instruction.words)
    if "" in volumes:
        raise scope.wrong("VOLUME with an empty path", instruction.words[volumes.index("")].span, "name a directory")
    state.volumes.update(dict.fromkeys(volumes))
    return _meta(state, instruction, f"VOLUME [{' '.join(volumes)}]")


def _user(scope: Scope, state: State, instruction: Instruction) -> Step:
    assert isinstance(instruction, Words)
    # An empty name is root, as in BuildKit.
    user = scope.expand(instruction.words[0], state.variables)
    state.configured(user=user)
    return _meta(state, instruction, f"USER {user}")


def _stopsignal(scope: Scope, state: State, instruction: Instruction) -> Step:
    assert isinstance(instruction, Words)
    word = instruction.words[0]
    text = scope.expand(word, state.variables)
    name = text.upper().removeprefix("SIG")
    if name not in _SIGNALS and not _SIGNAL_NUMBER.fullmatch(text):
        close = nearest(name, sorted(_SIGNALS)) if name else None
        hint = f"did you mean SIG{close}?" if close else "SIGTERM, SIGINT or a number from 1 to 64"
        raise scope.wrong(f"no such signal: {text!r}", word.span, hint)
    state.configured(stop_signal=text)
    return _meta(state, instruction, f"STOPSIGNAL {text}")


def _maintainer(scope: Scope, state: State, instruction: Instruction) -> Step:
    assert isinstance(instruction, Words)
    state.author = instruction.words[0].text
    return _meta(state, instruction, f"MAINTAINER {state.author}")


def _workdir(scope: Scope, state: State, instruction: Instruction) -> Step:
    assert isinstance(instruction, Words)
    # An empty path is the directory from before, as in BuildKit.
    path = joined(state.config.working_dir, scope.expand(instruction.words[0], state.variables))
    state.configured(working_dir=path)
    return WorkdirStep(title(instruction), instruction.span, state.last, path, state.config.user, f"WORKDIR {path}")


# RUN is in runs.py, COPY and ADD are in copies.py: they need to know the stages.
HANDLERS: dict[str, Handler] = {
    "ARG": _arg,
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
