"""Which steps of a build earlier builds have done already. Only reads; a warm build gets no further than this."""

from __future__ import annotations

from pybuild.builder.graph import BuildGraph, MetaStep, SourceStep
from pybuild.builder.workspace import Layer, Workspace
from pybuild.registry.values import frozen


@frozen
class Result:
    """What a step came to: its layer, None when it changed no file, and when (RFC 3339)."""

    layer: Layer | None
    created: str


def file_steps(graph: BuildGraph, last: int) -> tuple[int, ...]:
    """The steps up to `last`, from its base on, that can change files."""
    return tuple(n for n in graph.chain(last) if not isinstance(graph.steps[n], MetaStep | SourceStep))


def cached_result(key: str, workspace: Workspace, compression: str) -> Result | None:
    """The result of a step, if the records have it and the store has its blob under this compression."""
    record = workspace.database.step(key)
    if record is None:
        return None
    if record.is_empty:
        return Result(None, record.created)
    if record.diff_id is None:
        return None
    blob = workspace.database.blob(record.diff_id, compression)
    if blob is None or not workspace.store.has(blob):
        return None
    return Result(Layer(blob, record.diff_id), record.created)
