"""File indexes of layers in SQLite: what is where in a blob, without reading the blob again.

A lookup reads one row, a listing those of one directory; nothing is loaded whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from pybuild.builder.errors import LayerError
from pybuild.builder.layers.entry import Entry, Kind
from pybuild.builder.layers.index import LayerView, RecipeView
from pybuild.builder.records.marks import is_sound, mark
from pybuild.lean import sqlite3

_SCHEMA = """
create table if not exists indexed (number integer primary key, layer text unique not null);
create table if not exists entries (
    layer integer, parent blob, name blob, kind integer, mode integer, uid integer, gid integer, size integer,
    mtime integer, link blob, extra text, is_opaque integer, mark integer not null,
    primary key (layer, parent, name)) without rowid;
"""
_COLUMNS = "parent, name, kind, mode, uid, gid, size, mtime, link, extra, is_opaque, mark"


class FileIndexes:
    """All indexes of one database. Raises sqlite3.Error, and LayerError for an entry that is another than was written."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        if connection.execute("select 1 from sqlite_master where name = 'entries'").fetchone() is None:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)

    def has(self, layer: str) -> bool:
        """Whether there is an index of this layer."""
        return self._number(layer) is not None

    def add(self, layer: str, entries: Iterable[Entry]) -> None:
        """Keep the index of a layer, complete or not at all. Idempotent."""
        if self.has(layer):
            return
        rows = [_row(entry, is_opaque) for entry, is_opaque in RecipeView(entries).entries()]
        self._connection.execute("savepoint indexing")
        try:
            # Another process may have kept it meanwhile.
            cursor = self._connection.execute("insert or ignore into indexed (layer) values (?)", (layer,))
            if cursor.rowcount:
                self._connection.executemany(
                    f"insert into entries (layer, {_COLUMNS}) values ({cursor.lastrowid}, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    rows,
                )
        except BaseException:
            self._connection.execute("rollback to indexing")
            self._connection.execute("release indexing")
            raise
        self._connection.execute("release indexing")

    def forget(self, layer: str) -> None:
        """Remove the index of a layer. Idempotent."""
        number = self._number(layer)
        if number is not None:
            self._connection.execute("delete from entries where layer = ?", (number,))
            self._connection.execute("delete from indexed where number = ?", (number,))

    def view(self, layer: str) -> LayerView:
        """The layer as its index has it, nothing when there is none."""
        return _StoredView(self._connection, self._number(layer) or 0)

    def _number(self, layer: str) -> int | None:
        row = self._connection.execute("select number from indexed where layer = ?", (layer,)).fetchone()
        return row[0] if row else None


class _StoredView:
    def __init__(self, connection: sqlite3.Connection, number: int) -> None:
        self._connection = connection
        self._number = number

    def get(self, path: str) -> Entry | None:
        row = self._row(path)
        return _entry(row) if row else None

    def is_opaque(self, path: str) -> bool:
        row = self._row(path)
        return bool(row and row[10])

    def children(self, path: str) -> Iterable[Entry]:
        rows = self._connection.execute(
            f"select {_COLUMNS} from entries where layer = ? and parent = ? and name != x''", (self._number, _bytes(path))
        ).fetchall()
        return [_entry(_sound(row)) for row in rows]

    def _row(self, path: str) -> tuple[object, ...] | None:
        parent, _, name = path.rpartition("/")
        row: tuple[object, ...] | None = self._connection.execute(
            f"select {_COLUMNS} from entries where layer = ? and parent = ? and name = ?",
            (self._number, _bytes(parent), _bytes(name)),
        ).fetchone()
        return _sound(row) if row else None


def _sound(row: tuple[object, ...]) -> tuple[object, ...]:
    if not is_sound(row):
        raise LayerError(
            "the index of a layer is damaged in the store's pybuild.db", hint="'pybuild store verify --repair' puts it right"
        )
    return row


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _text(value: object) -> str:
    assert isinstance(value, bytes)
    return value.decode("utf-8", "surrogateescape")


def _row(entry: Entry, is_opaque: bool) -> tuple[object, ...]:
    extra = None
    if entry.xattrs or entry.device != (0, 0):
        extra = json.dumps([list(entry.device), [[name, value.hex()] for name, value in entry.xattrs]])
    row = (
        _bytes(entry.parent),
        _bytes(entry.name),
        int(entry.kind),
        entry.mode,
        entry.uid,
        entry.gid,
        entry.size,
        entry.mtime_ns,
        _bytes(entry.link),
        extra,
        int(is_opaque),
    )
    return (*row, mark(row))


def _entry(row: tuple[object, ...]) -> Entry:
    parent, name, kind, mode, uid, gid, size, mtime, link, extra, _, _ = row
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[str, bytes], ...] = ()
    if extra:
        numbers, pairs = json.loads(str(extra))
        device = (numbers[0], numbers[1])
        xattrs = tuple((key, bytes.fromhex(value)) for key, value in pairs)
    directory = _text(parent)
    path = f"{directory}/{_text(name)}" if directory else _text(name)
    return Entry(path, Kind(kind), mode, uid, gid, size, mtime, _text(link), device, xattrs)  # type: ignore[arg-type]
