"""Why each step of a build ran, or whose result it took: two builds compared, step by step. Pure but for the history it reads.

A step of the build before is the same step when it stands in the same stage and reads the same, or else when it stands between
the same neighbours and is of the same kind. What decides a key is compared field by field, so that a new field of the IR is
explained without a word here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import SequenceMatcher

from pybuild.builder.records.history import FAILED, HIT, RAN, Build, Outcome, Trace, Value
from pybuild.builder.records.wording import NAMES, commands, shown
from pybuild.values import frozen

# What a change is about, in the order in which they are told.
TIME, COMMAND, ARG, ENV, OPTION, BASE, FILE, REMOTE, BELOW, FETCHED, ORIGIN = (
    "time", "command", "arg", "env", "option", "base", "file", "remote", "below", "fetched", "origin",
)  # fmt: skip
# Why a step ran although nothing that it stands on has changed.
NEW, FIRST, NO_CACHE, NO_CACHE_FILTER, NEEDS_FRESH = ("new", "first", "no-cache", "no-cache-filter", "needs fresh")
FAILED_BEFORE, NOT_REACHED, GONE, READ_AGAIN, TAKEN_AGAIN, REPACKED, OTHER_KEYS = (
    "failed before", "not reached", "gone", "read again", "taken again", "repacked", "other keys",
)  # fmt: skip

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

    `maker` made a hit's result, which took it `saved_seconds`, as far as that is known. `has_new_inputs` is a hit that stands on,
    or reads, something that ran.
    """

    trace: Trace
    outcome: Outcome
    changes: tuple[Change, ...] = ()
    reason: str | None = None
    maker: Build | None = None
    saved_seconds: float = 0.0
    has_new_inputs: bool = False


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
        self._lowest: dict[int, int | None] = {}
        self._renewed: set[int] = set()
        self._places: dict[int, dict[str, int]] = {}
        self._clock = _clock(build, before)

    def explanation(self) -> Explanation:
        return Explanation(self._build, self._before, tuple(self._step(trace) for trace in self._build.traces))

    def _step(self, trace: Trace) -> Explained:
        outcome, old = self._build.outcomes[trace.number], self._pairs.get(trace.number)
        changes = self._changes(trace, old) if old else ()
        if self._clock is None:
            self._changed[trace.number] = old is None or old.key != trace.key
        else:
            # Each key is another; what is below a step, and has nothing else that is other than before, is no cause.
            self._changed[trace.number] = old is None or bool(changes)
            changes = (self._clock, *changes) if old and trace.kind != "SourceStep" else changes
        self._note(trace)
        if outcome.state != HIT:
            reason = None if changes else _reason(trace, old, self._build, self._before)
            return Explained(trace, outcome, changes, reason)
        if trace.kind == "SourceStep":
            return Explained(trace, outcome, changes)
        maker = self._maker(trace.key)
        is_renewed = trace.number in self._renewed
        return Explained(trace, outcome, maker=maker, saved_seconds=self._saved(trace, maker), has_new_inputs=is_renewed)

    def _note(self, trace: Trace) -> None:
        """What those above ask of a step, found out once: builds may have thousands."""
        # Of a stage that is new the first step says more than what it is from.
        counts = self._changed[trace.number] and (trace.kind != "SourceStep" or trace.number in self._pairs)
        lowest = None if trace.below is None else self._lowest.get(trace.below)
        self._lowest[trace.number] = trace.number if lowest is None and counts else lowest
        inputs = [number for number in (trace.below, *trace.origins) if number is not None]
        if any(number in self._renewed or self._build.outcomes[number].state == RAN for number in inputs):
            self._renewed.add(trace.number)

    def _saved(self, trace: Trace, maker: Build | None) -> float:
        if maker is None or maker.number == self._build.number:
            return 0.0
        if maker.number not in self._places:
            self._places[maker.number] = {item.key: item.number for item in reversed(maker.traces)}
        number = self._places[maker.number].get(trace.key)
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
        lowest = self._lowest.get(trace.number)
        cause = trace if lowest is None else self._steps[lowest]
        was = self._pairs.get(cause.number)
        return Change(about, where(cause), was.name if was else None, cause.name)


def _clock(build: Build, before: Build | None) -> Change | None:
    """What took the place of the clock, if that is other than before."""
    was, now = (shown("timestamp", item.options.get("timestamp")) if item else None for item in (before, build))
    return Change(TIME, "SOURCE_DATE_EPOCH", was, now) if before and was != now else None


def where(trace: Trace) -> str:
    """The place of a step, as progress shows it."""
    return f"[{trace.stage + ' ' if trace.stage else ''}{trace.place}]"


def _own(trace: Trace, old: Trace) -> list[Change]:
    """What the step itself says otherwise."""
    if trace.kind == "SourceStep":
        return _base(trace, old)
    found: list[Change] = []
    for name in dict.fromkeys((*trace.fields, *old.fields)):
        was, now = old.fields.get(name), trace.fields.get(name)
        if was == now or name in _NUMBERS:
            continue
        if name == "argv":
            found.append(Change(COMMAND, "", *commands(trace, old)))
        elif name == "env":
            found += _variables(trace, old)
        elif (told := (shown(name, was), shown(name, now))) != (None, None) and told[0] != told[1]:
            found.append(Change(OPTION, NAMES.get(name, name), *told))
        elif name in ("files", "scripts") and _names(was) != _names(now):
            found.append(Change(OPTION, "name of the here-document", _names(was), _names(now)))
    order = (COMMAND, ARG, ENV, OPTION)
    return sorted(found, key=lambda change: order.index(change.about))


def _base(trace: Trace, old: Trace) -> list[Change]:
    """Another image, or the same name for another one; only the name is nothing that counts."""
    was, now = old.fields.get("digest"), trace.fields.get("digest")
    names = str(old.fields.get("image")), str(trace.fields.get("image"))
    found = []
    if shown("platform", old.fields.get("platform")) != shown("platform", trace.fields.get("platform")):
        told = (shown("platform", step.fields.get("platform")) for step in (old, trace))
        found.append(Change(OPTION, NAMES["platform"], *told))
    if was == now and (was is not None or names[0] == names[1]):
        return found
    if names[0] == names[1]:
        return [*found, Change(BASE, names[1], shown("digest", was), shown("digest", now))]
    pinned = (f"{name}@{digest}" if digest else name for name, digest in zip(names, (was, now), strict=True))
    return [*found, Change(BASE, "", *pinned)]


def _names(value: Value) -> str:
    return " ".join(str(item["name"]) for item in value if isinstance(item, dict)) if isinstance(value, list) else ""


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


def _reads(trace: Trace, old: Trace, listing: Listing) -> list[Change]:
    """The files of contexts that are others, were added or were taken away, and what is another elsewhere."""
    if trace.kind in _REMOTES:
        was, now = (step.reads[0].digest if step.reads else None for step in (old, trace))
        return [Change(REMOTE, _REMOTES[trace.kind], was, now)] if was != now else []
    before, after = dict(_by_origin(old)), dict(_by_origin(trace))
    if len(before) == len(after) == 1:
        # What was read out of one context is compared with what is read out of another now.
        before = dict(zip(after, before.values(), strict=True))
    found = []
    for origin in dict.fromkeys((*after, *before)):
        was, now = before.get(origin), after.get(origin)
        if was == now:
            continue
        theirs, mine = ({} if digest is None else listing(digest) for digest in (was, now))
        if mine is None or theirs is None:
            found.append(Change(FILE, "", was, now))
            continue
        found += [
            Change(FILE, name or ".", theirs.get(name), mine.get(name))
            for name in sorted({*mine, *theirs})
            if mine.get(name) != theirs.get(name)
        ]
    return found


def _by_origin(trace: Trace) -> Iterator[tuple[str, str]]:
    return ((read.origin, read.digest) for read in trace.reads)


def _reason(trace: Trace, old: Trace | None, build: Build, before: Build | None) -> str:
    """Why a step ran that has not changed."""
    if before is None:
        return FIRST
    if old is None:
        return NEW
    fresh, named = build.options.get("fresh"), build.options.get("named")
    if isinstance(fresh, list) and trace.number in fresh:
        # Who names no stage names them all.
        if not isinstance(named, list):
            return NO_CACHE
        return NO_CACHE_FILTER if trace.number in named else NEEDS_FRESH
    if old.key != trace.key:
        return OTHER_KEYS
    outcome = before.outcomes.get(old.number)
    if outcome is not None and outcome.state == FAILED:
        return FAILED_BEFORE
    if outcome is not None and outcome.state not in (RAN, HIT):
        return NOT_REACHED
    if build.options.get("compression") != before.options.get("compression"):
        return REPACKED
    if trace.kind == "HttpStep":
        return TAKEN_AGAIN
    if trace.kind not in ("RunStep", "SourceStep") and trace.stage != build.traces[-1].stage:
        return READ_AGAIN
    return GONE
