"""Making room in the store: what may go is decided by pure functions; then names go first, records next, bytes last.

So a prune that is killed leaves leftovers, never a name or a record of something that is gone. On a full disk, where no record
can be written, bytes go before records. What a tag keeps never goes. It needs the store for itself: builds, pulls and pushes at
work are waited for, or make it give up.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable

from pybuild.builder.upkeep import reserve
from pybuild.builder.upkeep.holdings import BLOBS, IMAGE, LEFTOVER, STEP, Holding, Holdings, holdings
from pybuild.builder.workspace import Workspace
from pybuild.lean import sqlite3
from pybuild.registry import Digest
from pybuild.registry.errors import RegistryError
from pybuild.values import frozen

# A database is written anew when this part of it is empty.
_SPARSE = 0.25
_PAGES = ("page_count", "freelist_count", "page_size")


@frozen
class Wish:
    """What a prune is asked for.

    `with_all` takes what serves tagged images too, and cache mounts: everything that can be made anew. `before` spares what was
    of use since (seconds since 1970). `keep_bytes` ends the prune, the longest unused first, once all that no tag keeps is no
    larger.
    """

    with_all: bool = False
    before: float | None = None
    keep_bytes: int | None = None


@frozen
class Pruned:
    """What went, and how many bytes of disk came back."""

    items: tuple[Holding, ...]
    freed: int


def choose(found: Holdings, wish: Wish) -> tuple[Holding, ...]:
    """What goes: of what a tag keeps nothing, of the rest what the wish names, the longest unused first."""
    candidates = [item for item in found.items if not item.is_pinned and (wish.with_all or not item.serves_tag)]
    if wish.before is not None:
        candidates = [item for item in candidates if item.used < wish.before]
    # Leftovers serve nobody; of the rest, what a tag is served by goes last.
    candidates.sort(key=lambda item: (item.kind != LEFTOVER, item.serves_tag, item.used, item.name))
    if wish.keep_bytes is None:
        return tuple(candidates)
    return _until_small(found, candidates, wish.keep_bytes)


def _until_small(found: Holdings, candidates: list[Holding], keep_bytes: int) -> tuple[Holding, ...]:
    holders: dict[str, int] = {}
    for item in found.items:
        for place in item.places:
            holders[place] = holders.get(place, 0) + 1
    pinned = found.pinned
    total = sum(size for place, size in found.sizes.items() if place not in pinned)
    chosen = []
    for item in candidates:
        if total <= keep_bytes:
            break
        if all(place in pinned for place in item.places):
            # It is nothing but a record: to forget it frees nothing.
            continue
        chosen.append(item)
        for place in item.places:
            holders[place] -= 1
            if not holders[place]:
                total -= found.sizes.get(place, 0)
    return tuple(chosen)


def prune(workspace: Workspace, wish: Wish, *, waiting: Callable[[], None] | None = None) -> Pruned | None:
    """Do what the wish says; None, with nothing done, while others are at work and `waiting` is None.

    `waiting` is told when others have to be waited for. Raises StoreError and OSError.
    """
    with contextlib.ExitStack() as held:
        if not held.enter_context(workspace.store.lock("build", exclusive=True, blocking=False)):
            if waiting is None:
                return None
            waiting()
            held.enter_context(workspace.store.lock("build", exclusive=True))
        found = holdings(workspace)
        chosen = choose(found, wish)
        freed = _sweep(workspace, found, chosen)
        if wish.with_all and wish.before is None and wish.keep_bytes is None:
            _forget_memos(workspace)
        freed += _tidy(workspace)
        reserve.keep(workspace.store.root)
        return Pruned(chosen, freed)


def _sweep(workspace: Workspace, found: Holdings, chosen: tuple[Holding, ...]) -> int:
    """Remove holdings; the bytes that come back. The build lock is held exclusively."""
    names = {kind: [item.name for item in chosen if item.kind == kind] for kind in (IMAGE, STEP)}
    for name in names[IMAGE]:
        workspace.store.forget(Digest(name))
    chosen_names = {(item.kind, item.name) for item in chosen}
    kept = {place for item in found.items if (item.kind, item.name) not in chosen_names for place in item.places}
    doomed = sorted({place for item in chosen for place in item.places} - kept)
    gone = [f"sha256:{place.removeprefix(f'{BLOBS}/')}" for place in doomed if place.startswith(BLOBS)]

    def forget() -> bool:
        try:
            with workspace.database.transaction() as connection:
                _delete(connection, "steps", "key", names[STEP])
                _delete(connection, "blobs", "digest", gone)
                _delete(connection, "uses", "name", [item.name for item in chosen])
        except sqlite3.OperationalError:
            if not reserve.is_full(workspace.store.root):
                raise
            return False
        return True

    is_forgotten = forget()
    for place in doomed:
        workspace.discard(f"{workspace.store.root}/{place}")
    if not is_forgotten:
        forget()
    return sum(found.sizes.get(place, 0) for place in doomed)


def _tidy(workspace: Workspace) -> int:
    """Forget file indexes of layers that are gone and locks of steps that nobody does; the bytes that the database shrank by."""
    for name in os.listdir(f"{workspace.store.root}/locks"):
        if name.startswith("step-"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{workspace.store.root}/locks/{name}")
    with workspace.database.mutex:
        connection = workspace.database.connection
        _forget_indexes(workspace, connection)
        # What digests were of may have gone, and come again as something else.
        connection.execute("delete from memos where kind = 'files'")
        connection.execute("delete from lineages where key not in (select key from steps)")
        pages, free, size = (connection.execute(f"pragma {name}").fetchone()[0] for name in _PAGES)
        if free <= pages * _SPARSE:
            return 0
        connection.execute("vacuum")
        connection.execute("pragma wal_checkpoint(truncate)")
        return max(0, int(free * size))


def _forget_indexes(workspace: Workspace, connection: sqlite3.Connection) -> None:
    if connection.execute("select 1 from sqlite_master where name = 'indexed'").fetchone() is None:
        return
    from pybuild.builder.layers.stored import FileIndexes

    known: set[str] = set()
    for entry in workspace.store.index().manifests:
        with contextlib.suppress(RegistryError):
            known |= set(workspace.store.image(entry).config.diff_ids)
    known |= {row[0] for row in connection.execute("select diff_id from steps where diff_id is not null")}
    indexes = FileIndexes(connection)
    for (layer,) in connection.execute("select layer from indexed").fetchall():
        if layer not in known:
            indexes.forget(layer)


def _forget_memos(workspace: Workspace) -> None:
    with workspace.database.transaction() as connection:
        for table in ("memos", "files"):
            connection.execute(f"delete from {table}")


def _delete(connection: sqlite3.Connection, table: str, column: str, names: Iterable[str]) -> None:
    connection.executemany(f"delete from {table} where {column} = ?", ((name,) for name in names))
