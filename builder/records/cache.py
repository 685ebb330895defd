"""The cache of steps: what builds made, by the keys of their steps. `Cache` is all that a build asks of one.

`LocalCache` is the store's own. A cache elsewhere, in a registry or an object store, is another class with these six methods:
what it finds it brings into the store first, and what is kept goes to both. Keys, results and lineages are plain values, and a
layer is its digests, so they mean the same anywhere. A warm build gets no further than `packed`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from pybuild.builder.records.database import StepRecord
from pybuild.builder.workspace import Layer, Workspace
from pybuild.hints import Protocol
from pybuild.values import frozen

# How many results of one own part of a key are looked through.
_MOST_LINEAGES = 4
# A step below another one: its key, and the part of it that is its own.
Ancestor = tuple[str, str]
# Of each file system that counts for a step, the steps that made it, lowest first.
Lineage = tuple[tuple[Ancestor, ...], ...]


@frozen
class Result:
    """What a step came to: its layer, None when it changed no file, and when (RFC 3339)."""

    layer: Layer | None
    created: str


@frozen
class Kept:
    """A step's result in the forms that there are: its layer in the store, as one blob or as several of different compressions,
    and a tree of the workspace by its name. None of them: the step changed no file."""

    created: str
    layers: tuple[Layer, ...] = ()
    tree: str | None = None


class Cache(Protocol):
    """Results of steps, and what they stood on. What is found is at hand; safe for several threads and several builds.

    A cache that cannot be reached, or that finds something wrong, answers as one that has nothing: what it raises ends the build.
    """

    def packed(self, key: str, compression: str) -> Result | None:
        """The result of a step, if there is one whose layer has this compression, or that has no layer."""

    def found(self, key: str) -> Kept | None:
        """The result of a step in any form."""

    def keep(self, key: str, kept: Kept, compression: str) -> None:
        """Remember the result of a step, in the place of an earlier one. Its layer, if it is packed, has this compression."""

    def lineages(self, own: str) -> list[tuple[str, Lineage]]:
        """The latest results whose steps had this own part of their keys: their keys, and what they stood on."""

    def add_lineage(self, own: str, key: str, lineage: Lineage) -> None:
        """Remember what the result of a key stood on."""

    def moment(self, key: str, now: str) -> str:
        """When a step that changes no file was first done, by its key: `now`, if that is now."""


CacheOf = Callable[[Workspace], Cache]


class LocalCache:
    """The cache in a store: records in its database, layers among its blobs and trees."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def packed(self, key: str, compression: str) -> Result | None:
        record = self._workspace.database.step(key)
        if record is None:
            return None
        if record.is_empty:
            return Result(None, record.created)
        if record.diff_id is None:
            return None
        blob = self._workspace.database.blob(record.diff_id, compression)
        if blob is None or not self._workspace.store.has(blob):
            return None
        return Result(Layer(blob, record.diff_id), record.created)

    def found(self, key: str) -> Kept | None:
        record = self._workspace.database.step(key)
        if record is None:
            return None
        if record.is_empty:
            return Kept(record.created)
        blobs = self._workspace.database.blobs(record.diff_id) if record.diff_id else ()
        layers = tuple(Layer(blob, record.diff_id) for blob in blobs if record.diff_id and self._workspace.store.has(blob))
        is_there = record.tree is not None and os.path.isdir(self._workspace.tree_path(record.tree))
        return Kept(record.created, layers, record.tree if is_there else None) if layers or is_there else None

    def keep(self, key: str, kept: Kept, compression: str) -> None:
        for layer in kept.layers:
            self._workspace.database.add_blob(layer.diff_id, compression, layer.descriptor)
        diff_id = kept.layers[0].diff_id if kept.layers else None
        self._workspace.replace_step(StepRecord(key, diff_id, kept.tree, kept.created))

    def lineages(self, own: str) -> list[tuple[str, Lineage]]:
        rows = self._workspace.database.lineages(own)
        return [(key, tuple(tuple((a, b) for a, b in stack) for stack in json.loads(text))) for key, text in rows]

    def add_lineage(self, own: str, key: str, lineage: Lineage) -> None:
        self._workspace.database.add_lineage(own, key, json.dumps(lineage), most=_MOST_LINEAGES)

    def moment(self, key: str, now: str) -> str:
        return self._workspace.database.moment(key, now)
