"""Why each step of a build ran, or whose result it took: two builds compared, step by step. Pure but for the history it reads.

A step of the build before is the same step when it stands in the same stage and reads the same, or else when it stands between
the same neighbours and is of the same kind. What decides a key is compared field by field, so that a new field of the IR is
explained without a word here.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import SequenceMatcher

from pybuild.builder.records.history import FAILED, HIT, RAN, Build, Outcome, Trace, Value
from pybuild.values import frozen

# What a change is about, in the order in which they are told.
COMMAND, ARG, ENV, OPTION, BASE, FILE, REMOTE, BELOW, FETCHED, ORIGIN = (
    "command", "arg", "env", "option", "base", "file", "remote", "below", "fetched", "origin",
)  # fmt: skip
# Why a step ran although nothing that it stands on has changed.
NEW, FIRST, NO_CACHE, FAILED_BEFORE, NOT_REACHED, GONE, READ_AGAIN, REPACKED, OTHER_KEYS = (
    "new", "first", "no-cache", "failed before", "not reached", "gone", "read again", "repacked", "other keys",
)  # fmt: skip

_OPTIONS = {
    "owner": "--chown", "mode": "--chmod", "network": "--network", "security": "--security", "mounts": "--mount",
    "devices": "--device", "excludes": "--exclude", "parents": "--parents", "link": "--link", "unpack": "--unpack",
    "checksum": "--checksum", "user": "USER", "cwd": "WORKDIR", "path": "path", "sources": "sources",
    "destination": "destination", "hostname": "host name", "scripts": "here-document", "files": "here-document", "image": "image",
}  # fmt: skip
# What is known of something elsewhere.
_REMOTES = {"HttpStep": "content", "GitStep": "commit"}
# Numbers of steps: the same step may have another number in another build.
_NUMBERS = ("origin",)


@frozen
class Change:
    """One thing that is other than before. `name` is a variable, a file, an option or a step's place; None is not there."""

    about: str
    name: str
    old: str | None = None
    new: str | None = None


@frozen
class Explained:
    """A step, what became of it, and why. `reason` is for one that ran although nothing changed.

    `maker` made a hit's result, which took it `saved_seconds`, as far as that is known.
    """

    trace: Trace
    outcome: Outcome
    changes: tuple[Change, ...] = ()
    reason: str | None = None
    maker: Build | None = None
    saved_seconds: float = 0.0


@frozen
class Explanation:
    """A whole build, and the one that it is compared with."""

    build: Build
    before: Build | None
    steps: tuple[Explained, ...]


Listing = Callable[[str], "dict[str, str] | None"]


def explain(build: Build, before: Build | None, *, listing: Listing, maker: Callable[[str], Build | None]) -> Explanation:
    """Explain every step. `listing` finds the files behind a digest, `maker` the build that made the result with a key."""
    return _Explainer(build, before, listing, maker).explanation()


def matched(new: tuple[Trace, ...], old: tuple[Trace, ...]) -> dict[int, Trace]:
    """The step of the old build that each step of the new one was, by its number."""
    found: dict[int, Trace] = {}
    stages: dict[str, list[Trace]] = {trace.stage: [] for trace in old}
    for trace in old:
        stages[trace.stage].append(trace)
    for stage in dict.fromkeys(trace.stage for trace in new):
        mine = [trace for trace in new if trace.stage == stage]
        # A stage without a name is known by its number, and the stage of a build with but one has no name.
        theirs = stages.get(stage) or (list(old) if len(stages) == 1 and stage == "" else [])
        found |= _matched_stage(mine, theirs)
    return found


def _matched_stage(mine: list[Trace], theirs: list[Trace]) -> dict[int, Trace]:
    found: dict[int, Trace] = {}
    matcher = SequenceMatcher(None, [trace.name for trace in theirs], [trace.name for trace in mine], autojunk=False)
    for tag, start, end, first, last in matcher.get_opcodes():
        if tag == "equal":
            found |= {trace.number: other for trace, other in zip(mine[first:last], theirs[start:end], strict=True)}
        elif tag == "replace":
            waiting = theirs[start:end]
            for trace in mine[first:last]:
                other = next((other for other in waiting if other.kind == trace.kind), None)
                if other is not None:
                    waiting = waiting[waiting.index(other) + 1 :]
                    found[trace.number] = other
    return found


class _Explainer:
    """Goes through the steps of a build in their order: whether one has changed is known when the next is looked at."""

    def __init__(self, build: Build, before: Build | None, listing: Listing, maker: Callable[[str], Build | None]) -> None:
        self._build, self._before, self._listing, self._maker = build, before, listing, maker
        self._pairs = matched(build.traces, before.traces) if before else {}
        self._steps = {trace.number: trace for trace in build.traces}
        self._changed: dict[int, bool] = {}

    def explanation(self) -> Explanation:
        return Explanation(self._build, self._before, tuple(self._step(trace) for trace in self._build.traces))

    def _step(self, trace: Trace) -> Explained:
        outcome, old = self._build.outcomes[trace.number], self._pairs.get(trace.number)
        changes = self._changes(trace, old) if old else ()
        self._changed[trace.number] = old is None or old.key != trace.key
        if outcome.state != HIT:
            reason = None if changes else _reason(trace, old, self._build, self._before)
            return Explained(trace, outcome, changes, reason)
        if trace.kind == "SourceStep":
            return Explained(trace, outcome, changes)
        maker = self._maker(trace.key)
        return Explained(trace, outcome, maker=maker, saved_seconds=self._saved(trace, maker))

    def _saved(self, trace: Trace, maker: Build | None) -> float:
        if maker is None or maker.number == self._build.number:
            return 0.0
        number = next((item.number for item in maker.traces if item.key == trace.key), None)
        return maker.outcomes[number].seconds if number is not None else 0.0

    def _changes(self, trace: Trace, old: Trace) -> tuple[Change, ...]:
        found = [*_own(trace, old), *_reads(trace, old, self._listing)]
        for origin in trace.origins:
            if self._changed.get(origin, True):
                about = FETCHED if self._steps[origin].kind in _REMOTES else ORIGIN
                found.append(self._caused(about, self._steps[origin]))
        if trace.below is not None:
            below = self._pairs.get(trace.below)
            if self._changed.get(trace.below, True):
                found.append(self._caused(BELOW, self._steps[trace.below]))
            elif self._before and below is not None and old.below not in (None, below.number):
                gone = next((item for item in self._before.traces if item.number == old.below), None)
                found += [Change(BELOW, where(gone), gone.name)] if gone else []
        return tuple(found)

    def _caused(self, about: str, trace: Trace) -> Change:
        """A change by the lowest step under this one, itself included, that changed: the cause of it all."""
        cause = trace
        while trace.below is not None:
            trace = self._steps[trace.below]
            if self._changed.get(trace.number, True):
                cause = trace
        was = self._pairs.get(cause.number)
        return Change(about, where(cause), was.name if was else None, cause.name)


def where(trace: Trace) -> str:
    """The place of a step, as progress shows it."""
    return f"[{trace.stage + ' ' if trace.stage else ''}{trace.place}]"


def _own(trace: Trace, old: Trace) -> list[Change]:
    """What the step itself says otherwise."""
    found: list[Change] = []
    for name in dict.fromkeys((*trace.fields, *old.fields)):
        was, now = old.fields.get(name), trace.fields.get(name)
        if was == now or name in _NUMBERS or (name == "sources" and _without_numbers(was) == _without_numbers(now)):
            continue
        if name == "argv":
            found.append(Change(COMMAND, "", _command(was), _command(now)))
        elif name == "env":
            found += _variables(trace, old)
        elif name == "digest":
            found.append(Change(BASE, str(trace.fields.get("image", "")), _shown(was), _shown(now)))
        else:
            found.append(Change(OPTION, _OPTIONS.get(name, name), _shown(was), _shown(now)))
    order = (COMMAND, ARG, ENV, OPTION, BASE)
    return sorted(found, key=lambda change: order.index(change.about))


def _variables(trace: Trace, old: Trace) -> list[Change]:
    was, now = _pairs(old.fields.get("env")), _pairs(trace.fields.get("env"))
    arguments = {*trace.arguments, *old.arguments}
    return [
        Change(ARG if name in arguments else ENV, name, was.get(name), now.get(name))
        for name in dict.fromkeys((*was, *now))
        if was.get(name) != now.get(name)
    ]


def _pairs(value: Value) -> dict[str, str]:
    return {str(item[0]): str(item[1]) for item in value if isinstance(item, list)} if isinstance(value, list) else {}


def _without_numbers(value: Value) -> Value:
    """Sources without the numbers of the steps that they come from."""
    if isinstance(value, list):
        return [_without_numbers(item) for item in value]
    if isinstance(value, dict):
        return {name: "" if name == "origin" and isinstance(item, int) else item for name, item in value.items()}
    return value


def _reads(trace: Trace, old: Trace, listing: Listing) -> list[Change]:
    """The files of contexts that are others, were added or were taken away, and what is another elsewhere."""
    found = []
    was = {read.origin: read.digest for read in old.reads}
    for read in trace.reads:
        before = was.get(read.origin)
        if before == read.digest:
            continue
        if trace.kind in _REMOTES:
            found.append(Change(REMOTE, _REMOTES[trace.kind], before, read.digest))
            continue
        mine, theirs = listing(read.digest), listing(before) if before else None
        if mine is None or theirs is None:
            found.append(Change(FILE, "", before, read.digest))
            continue
        found += [
            Change(FILE, name, theirs.get(name), mine.get(name))
            for name in sorted({*mine, *theirs})
            if mine.get(name) != theirs.get(name)
        ]
    return found


def _reason(trace: Trace, old: Trace | None, build: Build, before: Build | None) -> str:
    """Why a step ran that has not changed."""
    if before is None:
        return FIRST
    if old is None:
        return NEW
    fresh = build.options.get("fresh")
    if isinstance(fresh, list) and trace.number in fresh:
        return NO_CACHE
    if old.key != trace.key:
        return OTHER_KEYS
    outcome = before.outcomes.get(old.number)
    if outcome is not None and outcome.state == FAILED:
        return FAILED_BEFORE
    if outcome is not None and outcome.state not in (RAN, HIT):
        return NOT_REACHED
    if build.options.get("compression") != before.options.get("compression"):
        return REPACKED
    if trace.kind not in ("RunStep", "SourceStep") and trace.stage != build.traces[-1].stage:
        return READ_AGAIN
    return GONE


def _command(value: Value) -> str:
    """A command as people write it: of the shell form, what the shell gets."""
    if not isinstance(value, list):
        return _shown(value) or ""
    words = [str(word) for word in value]
    if len(words) == 3 and words[1] == "-c":
        return words[2]
    from shlex import join

    return join(words)


def _shown(value: Value) -> str | None:
    if value is None or value == []:
        return None
    if isinstance(value, list):
        return " ".join(_shown(item) or "-" for item in value)
    if isinstance(value, dict) and value.keys() == {"origin", "path"}:
        return (
            f"{value['origin']}:{value['path']}" if value["origin"] and isinstance(value["origin"], str) else str(value["path"])
        )
    if isinstance(value, dict) and value.keys() == {"name", "content"}:
        return str(value["content"])
    if isinstance(value, dict):
        return ",".join(f"{name}={_shown(item)}" for name, item in value.items() if item not in (None, [], False, ""))
    return str(value).lower() if isinstance(value, bool) else str(value)
