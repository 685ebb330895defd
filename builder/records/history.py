"""What builds did: one row for each, in the store's database, written when the build ends, however it ends.

The plan's part of it (`outline`) and the lists of files that a COPY read are kept once, by their digests: an unchanged rebuild
writes one small row. The oldest builds are forgotten.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping

from pybuild.builder.graph import BuildGraph, CopyStep, MetaStep, Root, Step
from pybuild.builder.records.database import Database
from pybuild.builder.steps.announcing import places
from pybuild.hints import TypeAlias
from pybuild.lean import sha256, sqlite3
from pybuild.values import field_names, frozen

# How a step came to its result, or did not.
RAN, HIT, FAILED, CANCELED, UNTOUCHED = "ran", "hit", "failed", "canceled", "untouched"
_KEPT = 1000
_BETWEEN_CLEANUPS = 100
# Fields of a step that decide nothing, or that are told by themselves.
_LEFT_OUT = ("name", "span", "parent", "created_by", "proxies")

# What JSON has.
Value: TypeAlias = "bool | int | str | list[Value] | dict[str, Value] | None"


@frozen
class Read:
    """What a step reads out of a context: the context's name, the digest of what was read."""

    origin: str
    digest: str


@frozen
class Trace:
    """One step of a build: what decided its key. `below` is the step that it stands on, `origins` those that it copies from."""

    number: int
    stage: str
    place: str
    kind: str
    name: str
    key: str
    below: int | None
    origins: tuple[int, ...]
    arguments: tuple[str, ...]
    fields: dict[str, Value]
    reads: tuple[Read, ...]


@frozen
class Outcome:
    """What became of a step, and how long it took; a failed one has its error."""

    state: str
    seconds: float = 0.0
    error: str | None = None


@frozen
class Build:
    """One build. `options` decide about steps beside the Dockerfile: `fresh` (the steps done anew), `named` (those
    of them that --no-cache-filter names), compression, timestamp."""

    number: int
    moment: float
    seconds: float
    dockerfile: str
    target: str
    tags: tuple[str, ...]
    image: str | None
    options: dict[str, Value]
    outcomes: Mapping[int, Outcome]
    traces: tuple[Trace, ...] = ()

    @property
    def title(self) -> str:
        """How it is called: by its number, and the names of its image."""
        return f"build #{self.number}" + (f" of {', '.join(self.tags)}" if self.tags else "")


def outline(graph: BuildGraph, keys: tuple[str, ...], reads: Iterable[tuple[int, Read]]) -> bytes:
    """The plan's part of a build's row."""
    read: dict[int, list[Read]] = {}
    for number, item in reads:
        read.setdefault(number, []).append(item)
    found = places(graph)
    rows = []
    for number, step in enumerate(graph.steps):
        if isinstance(step, MetaStep):
            continue
        place = found[number]
        rows.append(
            [
                number,
                place.stage,
                f"{place.number}/{place.total}",
                type(step).__name__,
                step.name,
                keys[number],
                _below(graph, step),
                [_solid(graph, origin) for origin in _origins(step)],
                _arguments(step),
                {name: _plain(getattr(step, name)) for name in field_names(step) if name not in _LEFT_OUT},
                [[item.origin, item.digest] for item in read.get(number, ())],
            ]
        )
    return json.dumps(rows, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _below(graph: BuildGraph, step: Step) -> int | None:
    """The step whose result counts for this one's key."""
    if isinstance(step, Root) or (isinstance(step, CopyStep) and step.stands_alone):
        return None
    return _solid(graph, step.parent)


def _solid(graph: BuildGraph, number: int) -> int:
    """The nearest step, from this one on down, that is more than a line of the config."""
    while isinstance(step := graph.steps[number], MetaStep):
        number = step.parent
    return number


def _origins(step: Step) -> tuple[int, ...]:
    origins = getattr(step, "origins", None) or (getattr(step, "origin", None),)
    mounts = tuple(mount.origin for mount in getattr(step, "mounts", ()))
    return tuple(dict.fromkeys(origin for origin in (*origins, *mounts) if isinstance(origin, int)))


def _arguments(step: Step) -> list[str]:
    """The variables of a RUN that are build arguments: its line in the image's history names them first."""
    head = getattr(step, "created_by", "")
    return [name for name, value in getattr(step, "env", ()) if head.startswith("RUN |") and f" {name}={value} " in head]


def _plain(value: object) -> object:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, bytes):
        return sha256(value).hexdigest()
    return {name: _plain(getattr(value, name)) for name in field_names(value)}


class History:
    """The rows of one store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._makers: dict[int, Build | None] = {}

    def has_outline(self, name: str) -> bool:
        """Whether a plan's part is there already."""
        with self._database.mutex:
            return self._row("select 1 from outlines where name = ?", name) is not None

    def add(self, build: Build, *, outline_name: str, outline: bytes | None, uses: Iterable[str], made: Iterable[str]) -> int:
        """Write a build, in one transaction with the uses of its steps and trees, and the keys of what it made; its number."""
        ran = {number: outcome for number, outcome in build.outcomes.items() if outcome.state != HIT}
        rest = json.dumps([build.tags, build.image, build.options], separators=(",", ":"))
        told = json.dumps({number: [item.state, round(item.seconds, 3), item.error] for number, item in ran.items()})
        with self._database.transaction() as connection:
            number = connection.execute(
                "insert into builds (moment, seconds, dockerfile, target, outline, rest, outcomes) values (?, ?, ?, ?, ?, ?, ?)",
                (build.moment, build.seconds, build.dockerfile, build.target, outline_name, rest, told),
            ).lastrowid
            assert number is not None
            if outline is not None:
                connection.execute("insert or ignore into outlines values (?, ?)", (outline_name, zlib.compress(outline, 1)))
            connection.executemany("insert or replace into uses values (?, ?)", ((name, build.moment) for name in uses))
            connection.executemany("insert or replace into makers values (?, ?)", ((key, number) for key in made))
            if number % _BETWEEN_CLEANUPS == 0:
                _forget_before(connection, number - _KEPT)
        return number

    def build(self, number: int) -> Build | None:
        """A build by its number."""
        return self._read("where number = ?", number)

    def last(self) -> Build | None:
        """The newest build."""
        return self._read("order by number desc limit 1")

    def before(self, build: Build) -> Build | None:
        """The build before of the same target of the same Dockerfile; else of the same Dockerfile."""
        ahead = "where dockerfile = ? and number < ?"
        same = self._read(f"{ahead} and target = ? order by number desc limit 1", build.dockerfile, build.number, build.target)
        return same or self._read(f"{ahead} order by number desc limit 1", build.dockerfile, build.number)

    def recent(self, count: int) -> tuple[Build, ...]:
        """The newest builds, the latest first, without their traces."""
        with self._database.mutex:
            rows = self._database.connection.execute(f"{_SELECT} order by number desc limit ?", (count,)).fetchall()
        return tuple(_build(row, ()) for row in rows)

    def maker(self, key: str) -> Build | None:
        """The build that made the result with this key; None when that is not known any more."""
        with self._database.mutex:
            row = self._row("select build from makers where key = ?", key)
        if row is None:
            return None
        number = int(str(row[0]))
        if number not in self._makers:
            self._makers[number] = self._read("where number = ?", number)
        return self._makers[number]

    def listing(self, digest: str) -> dict[str, str] | None:
        """The files that a COPY read: what counts of each, by its name. None when that was not kept."""
        with self._database.mutex:
            row = self._row("select content from listings where digest = ?", digest)
        if row is None:
            return None
        lines = zlib.decompress(row[0]).decode("utf-8", "surrogateescape").split("\0")[:-1]  # type: ignore[arg-type]
        return dict(zip(lines[::2], lines[1::2], strict=True))

    def _read(self, where: str, *values: object) -> Build | None:
        with self._database.mutex:
            row = self._row(f"{_SELECT} {where}", *values)
            kept = self._row("select content from outlines where name = ?", row[5]) if row else None
        return _build(row, _traces(zlib.decompress(kept[0]) if kept else b"[]")) if row else None  # type: ignore[arg-type]

    def _row(self, statement: str, *values: object) -> tuple[object, ...] | None:
        row: tuple[object, ...] | None = self._database.connection.execute(statement, values).fetchone()
        return row


_SELECT = "select number, moment, seconds, dockerfile, target, outline, rest, outcomes from builds"


def _build(row: tuple[object, ...], traces: tuple[Trace, ...]) -> Build:
    number, moment, seconds, dockerfile, target, _, rest, outcomes = row
    tags, image, options = json.loads(str(rest))
    told = {int(key): Outcome(*value) for key, value in json.loads(str(outcomes)).items()}
    return Build(
        int(str(number)),
        float(str(moment)),
        float(str(seconds)),
        str(dockerfile),
        str(target),
        tuple(tags),
        image,
        options,
        {trace.number: Outcome(HIT) for trace in traces} | told,
        traces,
    )


def _trace(
    number: int,
    stage: str,
    place: str,
    kind: str,
    name: str,
    key: str,
    below: int | None,
    origins: list[int],
    arguments: list[str],
    fields: dict[str, Value],
    reads: list[list[str]],
) -> Trace:
    read = tuple(Read(*item) for item in reads)
    return Trace(number, stage, place, kind, name, key, below, tuple(origins), tuple(arguments), fields, read)


def _traces(content: bytes) -> tuple[Trace, ...]:
    return tuple(_trace(*row) for row in json.loads(content.decode("utf-8", "surrogatepass")))


def _forget_before(connection: sqlite3.Connection, number: int) -> None:
    connection.execute("delete from builds where number < ?", (number,))
    connection.execute("delete from outlines where name not in (select outline from builds)")
    connection.execute("delete from makers where build not in (select number from builds)")
    rows = connection.execute("select content from outlines").fetchall()
    read = {item.digest for row in rows for trace in _traces(zlib.decompress(row[0])) for item in trace.reads}
    for (digest,) in connection.execute("select digest from listings").fetchall():
        if digest not in read:
            connection.execute("delete from listings where digest = ?", (digest,))
