"""Build arguments: what every build has, what stands before the first FROM, and what --build-arg gives. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from pybuild.builder.errors import PlanError
from pybuild.builder.graph import Pairs
from pybuild.builder.planning.problems import Problems
from pybuild.builder.planning.scope import Scope
from pybuild.builder.planning.wanted import Options
from pybuild.grammar import DockerfileError
from pybuild.grammar.errors import nearest
from pybuild.grammar.instructions import Arg, Dockerfile, Instruction, OnBuild
from pybuild.registry import Platform

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
# They need no ARG: they reach RUN, and stay out of history and cache keys.
PROXIES = frozenset(name for plain in _PROXIES for name in (plain, plain.lower()))
EPOCH = "SOURCE_DATE_EPOCH"
HOSTNAME = "BUILDKIT_SANDBOX_HOSTNAME"
_PLATFORM_PARTS = ("PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT")
_KNOWN = frozenset({EPOCH, "TARGETSTAGE", *(f"{side}{part}" for side in ("BUILD", "TARGET") for part in _PLATFORM_PARTS)})


def file_scope(dockerfile: Dockerfile, options: Options, stage: str, problems: Problems) -> Scope:
    """What all lines of a file share; `stage` is the target's name. An ARG that is wrong is a problem, and has no value."""
    build_args = dict(options.build_args)
    found = platform_args(options.platform, options.build_platform or options.platform, stage)
    found |= {name: value for name, value in build_args.items() if name in found}
    scope = Scope(dockerfile.source, dockerfile.escape, options, found, build_args)
    for definition in (definition for arg in dockerfile.arguments for definition in arg.definitions):
        try:
            value = build_args.get(definition.name)
            if value is None and definition.value is not None:
                value = scope.expand(definition.value, found)
            if value is not None:
                found[definition.name] = value
        except DockerfileError as error:
            problems.add(error)
    if options.epoch is not None:
        (build_args if EPOCH in build_args else found)[EPOCH] = options.epoch
    return scope


def platform_args(target: Platform, build: Platform, stage: str) -> dict[str, str]:
    """The arguments that every build has: what it is for, and what it runs on."""
    found = {"TARGETSTAGE": stage}
    for prefix, platform in (("TARGET", target), ("BUILD", build)):
        parts = (platform.with_version, platform.os, platform.os_version or "", platform.architecture, platform.variant or "")
        found |= {f"{prefix}{part}": value for part, value in zip(_PLATFORM_PARTS, parts, strict=True)}
    return found


def proxies(options: Options) -> Pairs:
    """The proxies that RUN is told of, each by its name in capitals and in small letters; the latter counts if both are given."""
    given = sorted((name, value) for name, value in options.build_args if name in PROXIES)
    values = {name.upper(): value for name, value in given}
    return tuple(pair for name, value in values.items() for pair in ((name, value), (name.lower(), value)))


def epoch_text(scope: Scope) -> str:
    """What SOURCE_DATE_EPOCH says, as an argument of the build or before the first FROM; "" is nothing."""
    return scope.build_args.get(EPOCH, scope.global_args.get(EPOCH, ""))


def check_hostname(scope: Scope) -> None:
    """Raise PlanError when the name that RUN's machine shall have is none."""
    name = scope.build_args.get(HOSTNAME, "")
    letters = name.replace("-", "").replace(".", "").replace("_", "")
    if name and not (len(name) <= 64 and letters.isascii() and letters.isalnum()):
        raise PlanError(f"{HOSTNAME} is no host name: {name!r}", hint="letters, digits, '-' and '.', 64 at most")


def is_known(name: str) -> bool:
    """Whether --build-arg may name this without an ARG that declares it."""
    return name in PROXIES or name in _KNOWN or name.startswith("BUILDKIT_")


def unused(dockerfile: Dockerfile, options: Options, fired: Iterable[Instruction]) -> tuple[str, ...]:
    """A warning for each --build-arg that no ARG of the file declares, and none of the triggers that fired."""
    wanted = [name for name, _ in options.build_args if not is_known(name)]
    if not wanted:
        return ()
    declared = {definition.name: None for arg in dockerfile.arguments for definition in arg.definitions}
    for instruction in chain(fired, (item for stage in dockerfile.stages for item in stage.instructions)):
        found = instruction.inner if isinstance(instruction, OnBuild) else instruction
        if isinstance(found, Arg):
            declared |= {definition.name: None for definition in found.definitions}
    return tuple(_unused(name, tuple(declared), dockerfile.source.name) for name in wanted if name not in declared)


def _unused(name: str, declared: tuple[str, ...], file: str) -> str:
    close = nearest(name, declared)
    return f"--build-arg {name}: no ARG of this name is in {file}" + (f"; did you mean {close}?" if close else "")
