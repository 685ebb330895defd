"""What a target can be given, and which targets a file has: build arguments, secrets, ssh and cache mounts, with the
descriptions that stand above them. Pure.

Source: BuildKit, dockerfile2llb/outline.go and subrequests/.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field

from pybuild.builder.lint.looking import look
from pybuild.builder.lint.seen import Mounted, View
from pybuild.grammar.comments import surroundings
from pybuild.grammar.instructions import Dockerfile
from pybuild.values import frozen

Lines = tuple[int, int]


@frozen
class Argument:
    """A build argument that the target uses, with the value that it has now. `lines` are the first and last of its ARG."""

    name: str
    value: str
    description: str
    lines: Lines


@frozen
class Wanted:
    """A secret, an ssh agent or a cache that a RUN mounts."""

    id: str
    is_required: bool
    lines: Lines


@frozen
class Outline:
    """What a target can be given; a target without a name has the name ""."""

    name: str
    description: str
    arguments: tuple[Argument, ...]
    secrets: tuple[Wanted, ...]
    ssh: tuple[Wanted, ...]
    caches: tuple[Wanted, ...]


@frozen
class Target:
    """A stage: `base` and `platform` are as written."""

    name: str
    description: str
    base: str
    platform: str
    is_default: bool
    lines: Lines


def targets(dockerfile: Dockerfile) -> tuple[Target, ...]:
    """The stages of a file."""
    around = surroundings(dockerfile.source)
    found = []
    for stage in dockerfile.stages:
        line = stage.start.span.line
        name = stage.name if stage.start.name is not None else ""
        platform = stage.start.flag("platform")
        found.append(
            Target(
                name,
                around.description(line, name) if name else "",
                stage.start.image.text,
                platform.value.text if platform and platform.value else "",
                stage is dockerfile.stages[-1],
                (line, around.ends[line]),
            )
        )
    return tuple(found)


def outline(view: View, index: int) -> Outline:
    """What stage `index` can be given, by itself and by the stages that it needs. The view is of this target."""
    stage = view.dockerfile.stages[index]
    line = stage.start.span.line
    name = stage.name if stage.start.name is not None else ""
    order = tuple(_reached(view, index))
    scopes = _scopes(view)
    arguments: dict[str, Argument] = {}
    for number in order:
        for item in scopes[number].shown():
            arguments.setdefault(item.name, item)
    mounted = [item for number in order for item in view.mounts if item.stage == number]
    return Outline(
        name,
        view.around.description(line, name) if name else "",
        tuple(sorted(arguments.values(), key=lambda item: item.lines[0])),
        _wanted(view, mounted, "secret"),
        _wanted(view, mounted, "ssh"),
        _wanted(view, mounted, "cache"),
    )


def _reached(view: View, index: int) -> Iterator[int]:
    """A stage and those that it needs: its base before the stages that it copies from."""
    seen: set[int] = set()
    pending = [index]
    while pending:
        number = pending.pop()
        if number not in seen:
            seen.add(number)
            yield number
            pending += reversed(view.needs.get(number, ()))


@dataclass(slots=True)
class _Scope:
    """The arguments that a stage knows, what each was made of, and those that it uses."""

    known: dict[str, Argument]
    made_of: dict[str, set[str]]
    used: set[str] = field(default_factory=set)

    def shown(self) -> Iterator[Argument]:
        pending, seen = list(self.used), set()
        while pending:
            name = pending.pop()
            if name not in seen:
                seen.add(name)
                pending += self.made_of.get(name, ())
        return (item for name, item in self.known.items() if name in seen)


def _scopes(view: View) -> dict[int, _Scope]:
    above = _above(view)
    scopes: dict[int, _Scope] = {}
    first_uses: dict[int, set[str]] = {}
    for head in view.heads:
        index = head.stage.index
        # A stage on another stage has what that one's FROM used, too.
        uses = set(first_uses[head.base]) if isinstance(head.base, int) else set()
        uses |= {*head.image.found, *(head.platform.found if head.platform else ())}
        first_uses[index] = uses
        scopes[index] = _Scope(dict(above.known), dict(above.made_of), set(uses))
    for given in view.given:
        scope = scopes[given.stage]
        scope.used.add(given.name)
        if not given.is_inherited:
            line = given.instruction.span.line
            description = view.around.description(line, given.name)
            lines = (line, view.around.ends.get(line, line))
            scope.known.pop(given.name, None)
            scope.known[given.name] = Argument(given.name, given.value or "", description, lines)
            scope.made_of.pop(given.name, None)
    return scopes


def _above(view: View) -> _Scope:
    """The arguments above the first FROM."""
    scope = _Scope({}, {})
    given = dict(view.known.build_args)
    values = {name: value for name, value in view.arguments.items() if name not in view.declared}
    for arg in view.dockerfile.arguments:
        line = arg.span.line
        for definition in arg.definitions:
            name = definition.name
            value = given.get(name)
            made_of: set[str] = set()
            if value is None and definition.value is not None:
                looked = look(definition.value, values, view.dockerfile.escape)
                value, made_of = looked.value or "", set(looked.found)
                if name in made_of:
                    # It adds to itself: what it was made of before is in it too.
                    made_of = (made_of - {name}) | scope.made_of.get(name, set())
            if value is not None:
                values[name] = value
            scope.known.pop(name, None)
            scope.known[name] = Argument(name, value or "", view.around.description(line, name), (line, view.around.ends[line]))
            scope.made_of[name] = made_of
    return scope


def _wanted(view: View, mounted: list[Mounted], kind: str) -> tuple[Wanted, ...]:
    found: dict[str, Wanted] = {}
    for item in mounted:
        mount = item.mount
        if mount.type != kind:
            continue
        name = mount.id or mount.source
        if not name:
            target = mount.target
            name = {"secret": posixpath.basename(target), "ssh": "default", "cache": posixpath.normpath(target)}[kind]
        line = item.instruction.span.line
        found.setdefault(name, Wanted(name, mount.is_required, (line, view.around.ends.get(line, line))))
    return tuple(sorted(found.values(), key=lambda wanted: wanted.lines[0]))
