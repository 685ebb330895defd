"""Cache keys: a hash of all that decides what a step puts into its layer. Pure.

A step that changes no file has the key of the step that it stands on. The format is golden-tested: to change it throws
away every cache there is.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from pybuild.builder.graph import BuildGraph, CopyStep, GitStep, HttpStep, MetaStep, Root, RunStep, SourceStep, Step, WorkdirStep
from pybuild.lean import sha256

_FORMAT = 2


# The digest of what a step reads from outside of the graph: out of the context of a name, or, for what is fetched, "".
Read = Callable[[Step, str], str]


def step_keys(graph: BuildGraph, read: Read, *, timestamp: int | None = None) -> tuple[str, ...]:
    """The key of each step, as hex digits."""
    keys: list[str] = []
    for step in graph.steps:
        if isinstance(step, MetaStep):
            keys.append(keys[step.parent])
            continue
        if isinstance(step, Root) or (isinstance(step, CopyStep) and step.stands_alone):
            parent = None
        else:
            parent = keys[step.parent]
        keys.append(_hash(parent, timestamp, *_parts(step, keys, read)))
    return tuple(keys)


def own_keys(graph: BuildGraph, read: Read, *, timestamp: int | None = None) -> tuple[str, ...]:
    """Of each step's key the part that is its own: what it stands on and the steps that it reads from count for nothing."""
    nothing = [""] * len(graph.steps)
    return tuple(
        "" if isinstance(step, MetaStep) else _hash("own", timestamp, *_parts(step, nothing, read)) for step in graph.steps
    )


def history_keys(graph: BuildGraph, keys: tuple[str, ...]) -> tuple[str, ...]:
    """A key for each step that counts its instruction too, whether it changes files or not."""
    found: list[str] = []
    for step, key in zip(graph.steps, keys, strict=True):
        if isinstance(step, Root):
            found.append(_hash(key, "history"))
        else:
            found.append(_hash(found[step.parent], key, step.created_by))
    return tuple(found)


def _parts(step: Step, keys: list[str], read: Read) -> tuple[object, ...]:
    match step:
        case SourceStep():
            return ("source", step.digest or step.image)
        case HttpStep():
            return ("http", read(step, ""), step.filename)
        case GitStep():
            # Where the commit came from is seen in a .git alone.
            kept = (step.remote, step.ref) if step.keeps_git_dir else None
            return ("git", read(step, ""), step.subdir, kept, step.has_submodules, step.times)
        case RunStep():
            return ("run", step.argv, sorted(step.env), step.cwd, step.user, step.network, *_beside(step, keys, read))
        case CopyStep():
            return (
                "copy",
                [_read(step, origin, keys, read) for origin in step.origins],
                [(file.name, file.content) for file in step.files],
                step.destination,
                step.owner,
                step.mode,
                step.unpack,
                step.link,
                step.parents,
                step.excludes,
            )
        case WorkdirStep():
            return ("workdir", step.path, step.user)
    raise AssertionError(step)


def _read(step: CopyStep, origin: int | str, keys: list[str], read: Read) -> tuple[object, ...]:
    """What is read out of one origin, and that origin's content as far as the copy goes."""
    if isinstance(origin, int):
        return ("step", keys[origin], step.paths(origin))
    return ("context", read(step, origin), step.paths(origin))


def _beside(step: RunStep, keys: list[str], read: Read) -> list[object]:
    """What else decides what a RUN does; nothing for most, whose keys are older than all this.

    A secret counts by its name, a cache by its place alone: what is in it must not matter. Source: BuildKit, ops/exec.go.
    """
    found: list[object] = []
    if step.security != "sandbox":
        found.append(("security", step.security))
    if step.scripts:
        found.append(("scripts", [(script.name, script.content) for script in step.scripts]))
    if step.hostname:
        found.append(("hostname", step.hostname))
    if step.devices:
        found.append(("devices", [repr(device) for device in step.devices]))
    for mount in step.mounts:
        parts: list[object] = [mount.type, mount.target, mount.is_read_only]
        if mount.type == "bind":
            assert mount.origin is not None
            is_step = isinstance(mount.origin, int)
            content = keys[mount.origin] if isinstance(mount.origin, int) else read(step, mount.origin)
            parts += [is_step, content, mount.source]
        elif mount.type != "cache":
            parts += [mount.id, mount.mode, mount.uid, mount.gid, mount.size, mount.env, mount.is_required]
        found.append(("mount", *parts))
    return found


def _hash(*parts: object) -> str:
    text = json.dumps([_FORMAT, *parts], separators=(",", ":"))
    return sha256(text.encode()).hexdigest()
