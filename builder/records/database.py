"""What earlier builds found out: results of steps, blobs of layers, digests of files, plans. One SQLite file in the store.

Everything here can be made anew: a damaged or outdated file is replaced by an empty one. Nothing in it is believed
before what it names is found in the store.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from pybuild.builder import ending
from pybuild.builder.records.marks import is_sound, mark
from pybuild.lean import RLock, sqlite3
from pybuild.registry import Descriptor, Digest
from pybuild.values import frozen

_FORMAT = 5
# Whoever opens the file first reads all of its journal: half a millisecond for so much.
_LONGEST_JOURNAL = 512 << 10
_SCHEMA = """
create table if not exists steps (
    key text primary key, diff_id text, tree text, created text not null, mark integer not null) without rowid;
create index if not exists steps_by_layer on steps (diff_id);
create table if not exists blobs (
    diff_id text, compression text, media_type text not null, digest text not null, size integer not null, mark integer not null,
    primary key (diff_id, compression)) without rowid;
create table if not exists moments (key text primary key, created text not null, mark integer not null) without rowid;
create table if not exists memos (
    kind text, key text, content blob not null, mark integer not null, primary key (kind, key)) without rowid;
create table if not exists files (
    directory text, name text, size integer, mtime integer, ctime integer, inode integer, digest blob not null,
    primary key (directory, name)) without rowid;
create table if not exists builds (
    number integer primary key autoincrement, moment real not null, seconds real not null, dockerfile text not null,
    target text not null, outline text not null, rest text not null, outcomes text not null);
create index if not exists builds_by_file on builds (dockerfile, number);
create table if not exists outlines (name text primary key, content blob not null) without rowid;
create table if not exists makers (key text primary key, build integer not null) without rowid;
create table if not exists listings (digest text primary key, content blob not null) without rowid;
create table if not exists lineages (
    number integer primary key, own text not null, key text not null, lineage text not null, mark integer not null);
create index if not exists lineages_by_own on lineages (own, key);
create table if not exists uses (name text primary key, moment real not null) without rowid;
"""

# Tables whose rows have a check.
_MARKED = ("steps", "blobs", "moments", "memos", "lineages")
# What an older format has in another shape.
_OUTDATED = (*_MARKED, "entries", "indexed")

FileStamp = tuple[int, int, int, int]


@frozen
class StepRecord:
    """What a step came to, and when (RFC 3339): a layer, the name of a tree in the workspace, or both; neither when it
    changed no file. A layer of None beside a tree was not packed, because nobody asked for it."""

    key: str
    diff_id: Digest | None
    tree: str | None
    created: str

    @property
    def is_empty(self) -> bool:
        """Whether the step changed no file."""
        return self.diff_id is None and self.tree is None


class Database:
    """The records of one store. Safe for several threads and processes at once.

    `was_damaged` says that the file was no database, and has been replaced by an empty one.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.mutex = RLock()
        self.was_damaged = False
        with _opening:
            self.connection = self._connect()
            _open.add(self)

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = _opened(self._path)
            version = connection.execute("pragma user_version").fetchone()[0]
            if version == _FORMAT:
                return connection
            if version:
                for table in _OUTDATED:
                    connection.execute(f"drop table if exists {table}")
            connection.executescript(_SCHEMA)
            connection.execute(f"pragma user_version={_FORMAT}")
            return connection
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            self.was_damaged = True
            _remove(self._path)
            return _opened(self._path)

    def rebuild(self) -> int:
        """Begin a new file with all rows of the old one that can be read; how many these are. Nobody else is at work."""
        place = f"{self._path}.new"
        _remove(place)
        saved = 0
        with self.mutex:
            fresh = _opened(place)
            tables = [row[0] for row in fresh.execute("select name from sqlite_master where type = 'table'")]
            fresh.execute("begin")
            for table in tables:
                saved += self._save(table, fresh)
            fresh.execute("commit")
            fresh.execute("pragma wal_checkpoint(truncate)")
            fresh.close()
            self.connection.close()
            _remove(self._path)
            os.rename(place, self._path)
            _remove(place)
            self.connection = self._connect()
        return saved

    def _save(self, table: str, into: sqlite3.Connection) -> int:
        """Copy what can be read of a table: from its start up to the damage, and from its end down to it."""
        before = into.total_changes
        for order in ("asc", "desc"):
            try:
                rows = self.connection.execute(f"select * from {table} order by 1 {order}")
                for row in rows:
                    if table in _MARKED and not is_sound(_checked(table, row)):
                        continue
                    into.execute(f"insert or ignore into {table} values ({', '.join('?' * len(row))})", row)
            except sqlite3.DatabaseError:
                continue
        return into.total_changes - before

    def unsound_rows(self) -> int:
        """How many rows are others than were written. Raises sqlite3.DatabaseError."""
        with self.mutex:
            rows = ((table, row) for table in _MARKED for row in self.connection.execute(f"select * from {table}"))
            return sum(not is_sound(_checked(table, row)) for table, row in rows)

    def close(self) -> None:
        """Close the file, or leave it as it is when the process is about to end.

        To close the last connection is to write the journal's pages to their places and to wait for the disk, at the end of
        every build, even of one that wrote a single row. The journal is as good: whoever comes next reads it. SQLite would never
        begin it anew as long as nobody closes the file, so that is done all the same once it is long.
        """
        with _opening:
            _open.discard(self)
            if ending.is_near() and self._journal() <= _LONGEST_JOURNAL:
                _left[:] = [self.connection]
            else:
                self.connection.close()

    def _journal(self) -> int:
        try:
            return os.stat(f"{self._path}-wal").st_size
        except FileNotFoundError:
            return 0

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Several statements as one; other threads wait."""
        with self.mutex:
            self.connection.execute("begin immediate")
            try:
                yield self.connection
            except BaseException:
                self.connection.execute("rollback")
                raise
            self.connection.execute("commit")

    def _one(self, statement: str, *values: object) -> tuple[object, ...] | None:
        with self.mutex:
            row: tuple[object, ...] | None = self.connection.execute(statement, values).fetchone()
            return row

    def _sound(self, statement: str, *values: object) -> tuple[object, ...] | None:
        row = self._one(statement, *values)
        return row if row is not None and is_sound(row) else None

    def _put(self, table: str, *values: str | bytes | int | None) -> None:
        places = ", ".join("?" * (len(values) + 1))
        self._do(f"insert or replace into {table} values ({places})", *values, mark(values))

    def _do(self, statement: str, *values: object) -> None:
        with self.mutex:
            self.connection.execute(statement, values)

    # Steps and layers

    def step(self, key: str) -> StepRecord | None:
        """The result of the step with this key."""
        row = self._sound("select key, diff_id, tree, created, mark from steps where key = ?", key)
        if row is None:
            return None
        _, diff_id, tree, created, _ = row
        return StepRecord(key, Digest(str(diff_id)) if diff_id else None, str(tree) if tree else None, str(created))

    def add_step(self, record: StepRecord) -> None:
        """Remember a result."""
        self._put("steps", record.key, str(record.diff_id) if record.diff_id else None, record.tree, record.created)

    def trees_of(self, diff_id: Digest) -> tuple[str, ...]:
        """The trees that steps left whose layer this is."""
        with self.mutex:
            rows = self.connection.execute("select tree from steps where diff_id = ? and tree is not null", (diff_id,)).fetchall()
        return tuple(row[0] for row in rows)

    def blob(self, diff_id: Digest, compression: str) -> Descriptor | None:
        """The blob that a layer became under a compression; it may be gone from the store by now."""
        row = self._sound("select * from blobs where diff_id = ? and compression = ?", diff_id, compression)
        return _descriptor(row) if row else None

    def blobs(self, diff_id: Digest) -> tuple[Descriptor, ...]:
        """The blobs that a layer became under any compression."""
        with self.mutex:
            rows = self.connection.execute("select * from blobs where diff_id = ?", (diff_id,)).fetchall()
        return tuple(_descriptor(row) for row in rows if is_sound(row))

    def add_blob(self, diff_id: Digest, compression: str, blob: Descriptor) -> None:
        """Remember that a layer became this blob."""
        self._put("blobs", str(diff_id), compression, blob.media_type, str(blob.digest), blob.size)

    def moment(self, key: str, now: str) -> str:
        """When `key` was first asked for: `now`, if that is now."""
        statement = "select * from moments where key = ?"
        row = self._sound(statement, key)
        if row is None:
            with self.transaction():
                # Another build may have come first, at the same moment.
                row = self._sound(statement, key)
                if row is None:
                    self._put("moments", key, now)
        return str(row[1]) if row else now

    def has_listing(self, digest: str) -> bool:
        """Whether the files behind a digest of a context's content are known one by one."""
        return self._one("select 1 from listings where digest = ?", digest) is not None

    def add_listing(self, digest: str, content: bytes) -> None:
        """Remember the files behind a digest, as `listings` packs them."""
        self._do("insert or ignore into listings values (?, ?)", digest, content)

    def add_maker(self, key: str, *, like: str) -> None:
        """Remember that the result of a key is the one of another key, and so its build's."""
        self._do("insert or ignore into makers select ?, build from makers where key = ?", key, like)

    # What results stood on

    def lineages(self, own: str) -> list[tuple[str, str]]:
        """The keys of the latest results of an own part of a key, and what they stood on."""
        with self.mutex:
            rows = self.connection.execute(
                "select own, key, lineage, mark from lineages where own = ? order by number desc", (own,)
            ).fetchall()
        return [(row[1], row[2]) for row in rows if is_sound(row)]

    def add_lineage(self, own: str, key: str, lineage: str, *, most: int) -> None:
        """Remember what the result of a key stood on; of one own part, the latest results alone."""
        with self.transaction() as connection:
            connection.execute("delete from lineages where own = ? and key = ?", (own, key))
            row = (own, key, lineage)
            connection.execute("insert into lineages (own, key, lineage, mark) values (?, ?, ?, ?)", (*row, mark(row)))
            connection.execute(
                "delete from lineages where own = ? and number not in "
                "(select number from lineages where own = ? order by number desc limit ?)",
                (own, own, most),
            )

    # Memos

    def memo(self, kind: str, key: str) -> bytes | None:
        """A result of a pure computation, by what went into it."""
        row = self._sound("select * from memos where kind = ? and key = ?", kind, key)
        return row[2] if row else None  # type: ignore[return-value]

    def add_memo(self, kind: str, key: str, content: bytes) -> None:
        """Remember a result of a pure computation."""
        self._put("memos", kind, key, content)

    # Digests of files

    def file_digests(self, directory: str) -> dict[str, tuple[FileStamp, bytes]]:
        """The known digests of the files directly in a directory, each with the stamp it was taken at."""
        with self.mutex:
            rows = self.connection.execute(
                "select name, size, mtime, ctime, inode, digest from files where directory = ?", (directory,)
            ).fetchall()
        return {row[0]: ((row[1], row[2], row[3], row[4]), row[5]) for row in rows}

    def add_file_digests(self, found: Iterable[tuple[str, str, FileStamp, bytes]]) -> None:
        """Remember digests: directory, name, stamp, digest."""
        with self.transaction() as connection:
            connection.executemany(
                "insert or replace into files values (?, ?, ?, ?, ?, ?, ?)",
                ((directory, name, *stamp, digest) for directory, name, stamp, digest in found),
            )


def _checked(table: str, row: tuple[object, ...]) -> tuple[object, ...]:
    """The part of a row that its check is for: a number that the database gave it is not."""
    return row[1:] if table == "lineages" else row


def _descriptor(row: tuple[object, ...]) -> Descriptor:
    _, _, media_type, digest, size, _ = row
    return Descriptor(str(media_type), Digest(str(digest)), int(str(size)))


def _remove(path: str) -> None:
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}{suffix}")


# What this process has open, and who may change that: one thread at a time.
_open: set[Database] = set()
_opening = RLock()


@contextlib.contextmanager
def none_open() -> Iterator[None]:
    """Have nothing open in this process meanwhile, for a fork whose child opens a database of its own; other threads wait.

    SQLite keeps one list of the files that a process has open, with the locks that it holds on them, for all its connections. A
    child would take those of its parent's other threads for its own, and another process would change what it reads.
    """
    parent = os.getpid()
    with _opening, contextlib.ExitStack() as held:
        found = tuple(_open)
        for database in found:
            held.enter_context(database.mutex)
        for database in found:
            database.connection.close()
        try:
            yield
        finally:
            if os.getpid() == parent:
                for database in found:
                    database.connection = database._connect()
            else:
                _open.clear()


# At most one: that of a process that goes on all the same is closed with the next.
_left: list[sqlite3.Connection] = []


def _opened(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
    is_new = not os.path.exists(path) or not os.path.getsize(path)
    if is_new:
        # There is nothing to lose yet, and it would wait for the disk six times: that is a sixth of the first build.
        connection.execute("pragma synchronous=off")
    connection.execute("pragma journal_mode=wal")
    if is_new:
        connection.executescript(_SCHEMA)
        connection.execute(f"pragma user_version={_FORMAT}")
    connection.execute("pragma synchronous=normal")
    return connection
