"""Cache keys: a hash of all that decides what a step puts into its layer. Pure.

A step that changes no file has the key of the step that it stands on. The format is golden-tested: to change it throws
away every cache there is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from pybuild.builder.graph import BuildGraph, CopyStep, MetaStep, RunStep, SourceStep, Step, WorkdirStep

_FORMAT = 1


def step_keys(graph: BuildGraph, read: Callable[[CopyStep], str], *, timestamp: int | None = None) -> tuple[str, ...]:
    """The key of each step, as hex digits. `read` gives the digest of what a COPY reads out of a context."""
    keys: list[str] = []
    for step in graph.steps:
        if isinstance(step, MetaStep):
            keys.append(keys[step.parent])
            continue
        parent = None if isinstance(step, SourceStep) else keys[step.parent]
        keys.append(_hash(parent, timestamp, *_parts(step, keys, read)))
    return tuple(keys)


def history_keys(graph: BuildGraph, keys: tuple[str, ...]) -> tuple[str, ...]:
    """A key for each step that counts its instruction too, whether it changes files or not."""
    found: list[str] = []
    for step, key in zip(graph.steps, keys, strict=True):
        if isinstance(step, SourceStep):
            found.append(_hash(key, "history"))
        else:
            found.append(_hash(found[step.parent], key, step.created_by))
    return tuple(found)


def _parts(step: Step, keys: list[str], read: Callable[[CopyStep], str]) -> tuple[object, ...]:
    match step:
        case SourceStep():
            return ("source", step.digest or step.image)
        case RunStep():
            return ("run", step.argv, sorted(step.env), step.cwd, step.user, step.network)
        case CopyStep():
            content = keys[step.origin] if isinstance(step.origin, int) else read(step)
            return (
                "copy",
                isinstance(step.origin, int),
                content,
                step.sources,
                step.destination,
                step.owner,
                step.mode,
                step.unpack,
            )
        case WorkdirStep():
            return ("workdir", step.path, step.user)
    raise AssertionError(step)


def _hash(*parts: object) -> str:
    text = json.dumps([_FORMAT, *parts], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
