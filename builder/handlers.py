"""What each instruction does to a stage: one function each, from the state before a line to the state behind it, with the
step that the line becomes. Which function is whose stands in HANDLERS. Pure.

The history's spelling (`created_by`) is BuildKit's, so that other tools show it well.
"""

from __future__ import annotations

import json
import posixpath
import signal
from collections.abc import Callable

from pybuild.builder.graph import MetaStep, Pairs, RunStep, Step, WorkdirStep
from pybuild.builder.scope import PROXIES, Scope, State
from pybuild.grammar import DockerfileError, split
from pybuild.grammar.instructions import Arg, Command, Instruction, Run, Start, Words
from pybuild.grammar.instructions import Pairs as PairsInstruction
from pybuild.registry.values import replace

Handled = tuple[State, Step]
Handler = Callable[[Scope, State, Instruction], Handled]

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DEFAULT_SHELL = ("/bin/sh", "-c")


def title(instruction: Instruction) -> str:
    """The instruction on one line, as progress shows it."""
    return " ".join(instruction.original.split())


def _meta(state: State, instruction: Instruction, created_by: str) -> Handled:
    return state, MetaStep(title(instruction), instruction.span, state.last, created_by)


def _commanded(state: State, command: Command) -> tuple[str, ...]:
    return command.words if command.is_json else (*(state.config.shell or _DEFAULT_SHELL), *command.words)


def _quoted(words: tuple[str, ...]) -> str:
    return "[" + " ".join(json.dumps(word, ensure_ascii=False) for word in words) + "]"


def _with(pairs: Pairs, added: Pairs) -> Pairs:
    """The pairs with others on top: a name keeps its first place and gets its last value."""
    return tuple((dict(pairs) | dict(added)).items())


def _arg(scope: Scope, state: State, instruction: Instruction) -> Handled:
    assert isinstance(instruction, Arg)
    said = []
    for definition in instruction.definitions:
        name = definition.name
        value = scope.build_args.get(name)
        if value is None and definition.value is not None:
            value = scope.expand(definition.value, state.variables)
        if value is None:
            value = scope.global_args.get(name, dict(state.arguments).get(name))
        said.append(name if value is None else f"{name}={value}")
        # As in BuildKit's history: a name keeps its first place.
        state = replace(state, arguments=tuple((dict(state.arguments) | {name: value}).items()))
    return _meta(state, instruction, "ARG " + " ".join(said))


def _pairs(scope: Scope, state: State, instruction: Instruction) -> Pairs:
    """All values of one line are expanded with the variables from before it."""
    assert isinstance(instruction, PairsInstruction)
    variables = state.variables
    return tuple((scope.expand(pair.name, variables), scope.expand(pair.value, variables)) for pair in instruction.pairs)


def _env(scope: Scope, state: State, instruction: Instruction) -> Handled:
    pairs = _pairs(scope, state, instruction)
    env = _with(tuple(state.config.environment.items()), pairs)
    state = state.configured(env=tuple(f"{name}={value}" for name, value in env))
    return _meta(state, instruction, "ENV " + " ".join(f"{name}={value}" for name, value in pairs))


def _label(scope: Scope, state: State, instruction: Instruction) -> Handled:
    pairs = _pairs(scope, state, instruction)
    state = state.configured(labels=_with(state.config.labels, pairs))
    return _meta(state, instruction, "LABEL " + " ".join(f"{name}={value}" for name, value in pairs))


def _cmd(scope: Scope, state: State, instruction: Instruction) -> Handled:
    assert isinstance(instruction, Start)
    words = _commanded(state, instruction.command)
    return _meta(replace(state.configured(cmd=words), has_cmd=True), instruction, f"CMD {_quoted(words)}")


def _entrypoint(scope: Scope, state: State, instruction: Instruction) -> Handled:
    assert isinstance(instruction, Start)
    words = _commanded(state, instruction.command)
    # A CMD of the base was meant for the base's entrypoint; one of this file stays.
    state = state.configured(entrypoint=words, cmd=state.config.cmd if state.has_cmd else None)
    return _meta(state, instruction, f"ENTRYPOINT {_quoted(words)}")


def _expose(scope: Scope, state: State, instruction: Instruction) -> Handled:
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
    state = state.configured(exposed_ports=tuple(dict.fromkeys((*state.config.exposed_ports, *ports))))
    return _meta(state, instruction, f"EXPOSE [{' '.join(ports)}]")


def exposed(text: str) -> list[str]:
    """The ports that one word of EXPOSE means, each as `80/tcp`. Raises ValueError."""
    numbers, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in ("tcp", "udp", "sctp"):
        raise ValueError(f"no such protocol: {protocol!r}")
    first, dash, last = numbers.rpartition(":")[2].partition("-")
    if not first.isascii() or not first.isdigit() or (dash and not (last.isascii() and last.isdigit())):
        raise ValueError(f"not a port: {text!r}")
    low, high = int(first), int(last or first)
    if high > 65535 or low > high:
        raise ValueError(f"not a range of ports: {text!r}" if dash else f"not a port: {text!r}")
    return [f"{port}/{protocol}" for port in range(low, high + 1)]


def _volume(scope: Scope, state: State, instruction: Instruction) -> Handled:
    assert isinstance(instruction, Words)
    volumes = tuple(scope.expand(word, state.variables).strip() for word in instruction.words)
    if "" in volumes:
        raise scope.wrong("VOLUME with an empty path", instruction.words[volumes.index("")].span, "name a directory")
    state = state.configured(volumes=tuple(dict.fromkeys((*state.config.volumes, *volumes))))
    return _meta(state, instruction, f"VOLUME [{' '.join(volumes)}]")


def _user(scope: Scope, state: State, instruction: Instruction) -> Handled:
    assert isinstance(instruction, Words)
    # An empty name is root, as in BuildKit.
    user = scope.expand(instruction.words[0], state.variables)
    return _meta(state.configured(user=user), instruction, f"USER {user}")


def _stopsignal(scope: Scope, state: State, instruction: Instruction) -> Handled:
    assert isinstance(instruction, Words)
    text = scope.expand(instruction.words[0], state.variables)
    name = text.upper()
    known = {item.name for item in signal.Signals} | {f"SIGRT{n}" for n in ("MIN", "MAX")}
    is_number = text.isascii() and text.isdigit() and 0 < int(text) <= 64
    if not is_number and f"SIG{name.removeprefix('SIG')}".split("+")[0].split("-")[0] not in known:
        raise scope.wrong(f"no such signal: {text!r}", instruction.words[0].span, "SIGTERM, SIGINT or a number from 1 to 64")
    return _meta(state.configured(stop_signal=text), instruction, f"STOPSIGNAL {text}")


def _maintainer(scope: Scope, state: State, instruction: Instruction) -> Handled:
    assert isinstance(instruction, Words)
    author = instruction.words[0].text
    return _meta(replace(state, author=author), instruction, f"MAINTAINER {author}")


def _workdir(scope: Scope, state: State, instruction: Instruction) -> Handled:
    assert isinstance(instruction, Words)
    # An empty path is the directory from before, as in BuildKit.
    path = joined(state.config.working_dir, scope.expand(instruction.words[0], state.variables))
    state = state.configured(working_dir=path)
    step = WorkdirStep(title(instruction), instruction.span, state.last, path, state.config.user, f"WORKDIR {path}")
    return state, step


def joined(directory: str, path: str) -> str:
    """An absolute, cleaned path; a relative one is meant from `directory`."""
    return "/" + posixpath.normpath(posixpath.join("/", directory or "/", path)).strip("/")


def _run(scope: Scope, state: State, instruction: Instruction) -> Handled:
    assert isinstance(instruction, Run)
    if instruction.heredocs:
        raise scope.unsupported("RUN with a here-document", instruction.span, "join the commands with '&&'")
    if not instruction.command.words:
        raise scope.wrong("RUN without a command", instruction.span, "write RUN COMMAND")
    argv = _commanded(state, instruction.command)
    variables = state.variables
    declared = dict(state.arguments)
    said = [f"{name}={variables.get(name, '')}" for name in declared]
    prefix = [f"|{len(said)}", *said] if said else []
    proxies = tuple((name, value) for name, value in scope.options.build_args if name in PROXIES and name not in variables)
    step = RunStep(
        name=title(instruction),
        span=instruction.span,
        parent=state.last,
        argv=argv,
        env=tuple(variables.items()),
        proxies=proxies,
        cwd=state.config.working_dir or "/",
        user=state.config.user,
        created_by="RUN " + " ".join((*prefix, *argv)),
        network=scope.options.network,
    )
    return state, step


# COPY and ADD are in copies.py: they need to know the stages.
HANDLERS: dict[str, Handler] = {
    "ARG": _arg,
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "RUN": _run,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
# The flags that are carried out; the grammar knows more.
FLAGS = {
    "ADD": ("chown", "chmod", "link", "exclude", "unpack"),
    "COPY": ("from", "chown", "chmod", "link", "parents", "exclude"),
    "FROM": ("platform",),
}
