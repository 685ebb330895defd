"""RUN's flags on the way to the IR: --mount with every default filled in, --device, --network and --security. Pure.

Source: BuildKit, convert_runmount.go, convert_secrets.go, convert_ssh.go, and instructions/commands_run*.go.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from pybuild.builder.contexts.paths import joined
from pybuild.builder.graph import Device, Mount
from pybuild.builder.planning.scope import Scope, State
from pybuild.grammar import DockerfileError, Span, WordError, expand
from pybuild.grammar import mounts as grammar
from pybuild.grammar.errors import nearest
from pybuild.grammar.instructions import Flag, Run, Word
from pybuild.values import replace

NETWORKS = ("default", "none", "host")
SECURITIES = ("sandbox", "insecure")
_SECRETS = "/run/secrets"

_NOTHING = Mount("", None)
# The number of the step, or the name of the context, that a name behind from= means.
Resolve = Callable[[str, Span], int | str]


def origins(scope: Scope, instruction: Run) -> tuple[tuple[str, Span], ...]:
    """What the mounts of a RUN name behind from=, with its place. Raises DockerfileError."""
    found = []
    for flag, value in _flags(instruction, "mount"):
        try:
            name = grammar.mount_origin(value.text)
        except WordError as error:
            raise scope.located(error, value.span) from error
        if name:
            found.append((name, flag.span))
    return tuple(found)


def mounts(scope: Scope, state: State, instruction: Run, resolve: Resolve) -> tuple[Mount, ...]:
    """The mounts of a RUN. Raises PlanError and DockerfileError."""
    return tuple(_mount(scope, state, flag, value, resolve) for flag, value in _flags(instruction, "mount"))


def devices(scope: Scope, instruction: Run) -> tuple[Device, ...]:
    """The devices of a RUN. Raises DockerfileError."""
    found = []
    for _, value in _flags(instruction, "device"):
        try:
            device = grammar.parse_device(value.text)
        except WordError as error:
            raise scope.located(error, value.span) from error
        found.append(Device(device.name, device.is_required))
    return tuple(found)


def mode(scope: Scope, state: State, instruction: Run, name: str, known: tuple[str, ...], default: str) -> str:
    """The value of --network or --security, one of those known. Raises PlanError and DockerfileError."""
    flag = instruction.flag(name)
    if flag is None or flag.value is None:
        return default
    value = scope.expand(flag.value, state.variables)
    if value not in known:
        close = nearest(value, known)
        hint = f"did you mean {close}?" if close else f"there are {', '.join(known)}"
        raise scope.wrong(f"no such --{name}: {value!r}", flag.value.span, hint)
    return value


def _flags(instruction: Run, name: str) -> list[tuple[Flag, Word]]:
    return [(flag, flag.value) for flag in instruction.flags if flag.name == name and flag.value is not None]


def _mount(scope: Scope, state: State, flag: Flag, value: Word, resolve: Resolve) -> Mount:
    def expanded(text: str) -> str:
        return expand(text, state.variables, escape=scope.escape)

    try:
        found = grammar.parse_mount(value.text, span=flag.span, expand=expanded)
    except DockerfileError as error:
        raise scope.located(error, value.span) from error
    owned = replace(
        _NOTHING, mode=found.mode, uid=found.uid, gid=found.gid, is_read_only=found.is_read_only, is_required=found.is_required
    )
    if found.type == "secret":
        name = found.source or found.id or posixpath.basename(found.target.rstrip("/"))
        target = found.target or (f"{_SECRETS}/{posixpath.basename(name)}" if found.env is None else "")
        place = joined(state.config.working_dir, target) if target else None
        # A variable without a name has the secret's: BuildKit leaves it to runc, which refuses it.
        env = (found.env or name) if found.env is not None else None
        return replace(owned, type="secret", target=place, id=name, env=env)
    if found.type == "ssh":
        if found.source:
            raise scope.wrong("an ssh mount has no source", flag.span, "an agent comes from the command line: write id=NAME")
        place = joined(state.config.working_dir, found.target) if found.target else None
        return replace(owned, type="ssh", target=place, id=found.id or "default")
    place = joined(state.config.working_dir, found.target)
    if place == "/":
        raise scope.wrong(
            "a mount over the whole file system" if found.target else "a mount without a target", flag.span, "write target=PATH"
        )
    if found.type == "tmpfs":
        return Mount("tmpfs", place, size=found.size or None, is_read_only=found.is_read_only)
    source = joined("/", found.source)
    if found.type == "cache":
        return replace(
            owned,
            type="cache",
            target=place,
            origin=resolve(found.origin, flag.span) if found.origin else None,
            source=source,
            id=found.id or posixpath.normpath(found.target),
            sharing=found.sharing or "shared",
        )
    return Mount("bind", place, resolve(found.origin, flag.span), source, is_read_only=found.is_read_only)
