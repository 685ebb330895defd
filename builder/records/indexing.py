"""File indexes of layers, kept while their blobs come in."""

from __future__ import annotations

from functools import partial

from pybuild.builder.layers.entry import Entry
from pybuild.builder.layers.stored import FileIndexes
from pybuild.builder.layers.tapping import taps
from pybuild.builder.records.database import Database
from pybuild.registry import Digest
from pybuild.registry.incoming import MakeTaps


def indexing(database: Database) -> MakeTaps:
    """Taps that keep the index of each layer in the database, once it is known to be what its image's config says."""

    def keep(diff_id: Digest, entries: tuple[Entry, ...]) -> None:
        with database.mutex:
            FileIndexes(database.connection).add(diff_id, entries)

    return partial(taps, keep=keep)
