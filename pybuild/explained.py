"""An explanation of a build as people read it: a line for each step, and below it why. Pure but for the clock, an argument."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from pybuild.builder.records import explaining
from pybuild.builder.records.explaining import Change, Explained, Explanation, where
from pybuild.builder.records.history import CANCELED, FAILED, HIT, RAN, UNTOUCHED, Build
from pybuild.listings import since
from pybuild.progress.text import printable, seconds, size

_WIDTH = 100
_MOST_FILES = 12
_LEAST_SAVED = 0.1
_LONGEST = 60
_GREEN, _BLUE, _RED, _YELLOW, _DIM, _BOLD, _PLAIN = (f"\x1b[{code}m" for code in ("32", "34", "31", "33", "2", "1", "0"))
_WORDS = {
    HIT: ("HIT", _BLUE),
    RAN: ("RAN", _GREEN),
    FAILED: ("FAILED", _RED),
    CANCELED: ("ENDED", _DIM),
    UNTOUCHED: ("UNDONE", _DIM),
}
_REASONS = {
    explaining.NEW: "this step is new",
    explaining.FIRST: "this is the first build of this Dockerfile here",
    explaining.NO_CACHE: "nothing changed, but --no-cache asks for it anew",
    explaining.READ_AGAIN: "nothing changed: its files are listed anew, for nothing is kept of it in a stage that is only read",
    explaining.GONE: "nothing changed, but its result is not in the store any more",
    explaining.REPACKED: "nothing changed, but its layer was never compressed like this",
    explaining.OTHER_KEYS: "the same step, but this pybuild, or its --timestamp, makes other cache keys",
}
_KINDS = {"FILE": "file", "DIRECTORY": "directory", "SYMLINK": "link", "HARDLINK": "hard link", "FIFO": "fifo"}


def explanation_lines(found: Explanation, *, now: float, colour: bool = False, only: str | None = None) -> list[str]:
    """All lines; `only` shows the steps whose place or name has that in it."""
    paint = _Paint(colour)
    chosen = [step for step in found.steps if only is None or _is_asked_for(step, only)]
    lines = [] if only is not None else [*_head(found, now, paint), ""]
    for step in chosen:
        if step.trace.kind == "SourceStep" and not step.changes and only is None:
            # A base that is as before is what everybody takes for granted.
            continue
        lines += _step(step, found, now, paint)
    return lines


def step_lines(step: Explained, found: Explanation, *, now: float) -> list[str]:
    """What is said of one step, plain."""
    return list(_step(step, found, now, _Paint(False)))


def _is_asked_for(step: Explained, only: str) -> bool:
    trace = step.trace
    return only.lower() in trace.name.lower() or only in (
        trace.place,
        where(trace),
        where(trace)[1:-1],
        trace.place.split("/")[0],
    )


class _Paint:
    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def __call__(self, code: str, text: str) -> str:
        return f"{code}{text}{_PLAIN}" if self._colour and text else text


def _head(found: Explanation, now: float, paint: _Paint) -> Iterator[str]:
    build, before = found.build, found.before
    steps = [step for step in found.steps if step.trace.kind != "SourceStep"]
    ran = sum(step.outcome.state in (RAN, FAILED) for step in steps)
    did = "ran no step: everything is as it was" if not ran else f"ran {ran} of {len(steps)} step{'' if len(steps) == 1 else 's'}"
    saved = sum(step.saved_seconds for step in found.steps)
    hits = f"{len(steps)} hits" if len(steps) != 1 else "1 hit"
    if saved < _LEAST_SAVED:
        more = "" if ran else f" ({hits})"
    else:
        more = f"; hits saved {seconds(saved)}" if ran else f" ({hits} saved {seconds(saved)})"
    yield f"{paint(_BOLD, _title(build))} {did}{more}"
    if before is None:
        yield paint(_DIM, "the first build of this Dockerfile here: there is nothing to compare it with")
    else:
        yield paint(_DIM, f"compared with {_title(before)}, {_since(before, now)}")


def _title(build: Build) -> str:
    return printable(build.title)


def _since(build: Build, now: float) -> str:
    text = since(build.moment, now)
    return text[0].lower() + text[1:]


def _step(step: Explained, found: Explanation, now: float, paint: _Paint) -> Iterator[str]:
    trace, outcome = step.trace, step.outcome
    word, colour = _WORDS[outcome.state]
    if trace.kind == "SourceStep":
        word, colour = "BASE", _YELLOW
    name = _shortened(printable(" ".join(trace.name.split())), _WIDTH - 20)
    took = f"  {outcome.seconds:.1f}s" if outcome.state in (RAN, FAILED) and outcome.seconds >= 0.05 else ""
    if outcome.state == HIT and trace.kind != "SourceStep":
        took = f"  ← {_maker(step, found, now)}"
    yield f"{paint(colour, word.ljust(6))} {paint(_DIM, where(trace))} {name}{paint(_DIM, took)}"
    yield from (f"           {line}" for line in _why(step, found, now, paint))


def _why(step: Explained, found: Explanation, now: float, paint: _Paint) -> Iterator[str]:
    if step.outcome.state in (CANCELED, UNTOUCHED):
        return
    if step.outcome.state == HIT and step.trace.kind != "SourceStep":
        if _has_new_inputs(step, found):
            yield paint(_DIM, "what it needs was made anew, and came out as it was")
        return
    if step.reason == explaining.FIRST:
        # The head has said so for all of them.
        return
    if step.reason is not None:
        yield _reason(step.reason, found, now)
    files = [change for change in step.changes if change.about == explaining.FILE]
    for change in step.changes:
        if change.about != explaining.FILE:
            yield from _change(change, paint)
        elif change is files[0]:
            yield from _files(files, paint)


def _has_new_inputs(step: Explained, found: Explanation) -> bool:
    """Whether something below a hit, or that it reads from, ran in this build."""
    traces = {item.number: item for item in found.build.traces}
    pending, seen = [step.trace.number], set()
    while pending:
        trace = traces[pending.pop()]
        seen.add(trace.number)
        inputs = {number for number in (trace.below, *trace.origins) if number is not None} - seen
        if any(found.build.outcomes[number].state == RAN for number in inputs):
            return True
        pending += inputs
    return False


def _maker(step: Explained, found: Explanation, now: float) -> str:
    """Whose result a hit is."""
    if step.maker is None:
        return "a build that is not in the history any more"
    if step.maker.number == found.build.number:
        return "made in this build, by an equal step"
    is_of_same = step.maker.tags == found.build.tags
    return f"{f'build #{step.maker.number}' if is_of_same else _title(step.maker)}, {_since(step.maker, now)}"


def _reason(reason: str, found: Explanation, now: float) -> str:
    before = found.before
    if reason == explaining.FAILED_BEFORE and before:
        return f"it failed in {_title(before)}, {_since(before, now)}, and what failed is not kept"
    if reason == explaining.NOT_REACHED and before:
        return f"{_title(before)}, {_since(before, now)}, ended before it was done"
    return _REASONS[reason]


def _change(change: Change, paint: _Paint) -> Iterator[str]:
    match change.about:
        case explaining.COMMAND:
            yield "its command is another:"
            yield from _replaced(change.old or "", change.new or "", paint)
        case explaining.BELOW if change.new is None:
            yield f"{paint(_DIM, change.name)} {_step_name(change)}, which it stood on, is gone"
        case explaining.BELOW:
            yield f"stands on {paint(_DIM, change.name)} {_step_name(change)}, which {_became(change)}"
        case explaining.FETCHED:
            yield f"takes {paint(_DIM, change.name)} {_step_name(change)}, which {_became(change)}"
        case explaining.REMOTE:
            yield f"its {change.name} is another: {paint(_RED, _digest(change.old))} → {paint(_GREEN, _digest(change.new))}"
        case explaining.ORIGIN:
            yield f"reads from a stage where {paint(_DIM, change.name)} {_step_name(change)} {_became(change)}"
        case explaining.BASE:
            yield f"{change.name} is another image:"
            yield from _replaced(change.old or "none", change.new or "none", paint)
        case explaining.ARG | explaining.ENV | explaining.OPTION:
            head = f"{change.about.upper()} {change.name}" if change.about != explaining.OPTION else change.name
            old, new = _value(change.old), _value(change.new)
            if len(old) + len(new) > _LONGEST or "\n" in (change.old or "") + (change.new or ""):
                yield f"{head} is another:"
                yield from _replaced(change.old or "not set", change.new or "not set", paint)
            else:
                yield f"{head}: {paint(_RED, old)} → {paint(_GREEN, new)}"


def _step_name(change: Change) -> str:
    return _shortened(printable(" ".join((change.new or change.old or "").split())), _LONGEST)


def _became(change: Change) -> str:
    return "is new" if change.old is None else "changed"


def _value(text: str | None) -> str:
    return "not set" if text is None else printable(text) if text else "empty"


def _digest(text: str | None) -> str:
    """The beginning of a digest or of a commit."""
    return "none" if text is None else printable(text.removeprefix("sha256:")[:12])


def _replaced(old: str, new: str, paint: _Paint) -> Iterator[str]:
    """Two texts below each other, without the lines that they share; of long lines the part that differs."""
    was, now = old.split("\n"), new.split("\n")
    for tag, start, end, first, last in SequenceMatcher(None, was, now, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        ours, theirs = _focused("\n".join(was[start:end]), "\n".join(now[first:last]))
        yield from (paint(_RED, f"  - {printable(line)}") for line in ours.split("\n") if start != end)
        yield from (paint(_GREEN, f"  + {printable(line)}") for line in theirs.split("\n") if first != last)


def _focused(old: str, new: str) -> tuple[str, str]:
    """Two lines as they are, or the surroundings of the first difference where they are too long."""
    if max(len(old), len(new)) <= _WIDTH or "\n" in old + new:
        return old, new
    same = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    start = max(0, same - _WIDTH // 3)
    return tuple(("…" if start else "") + _shortened(text[start:], _WIDTH) for text in (old, new))  # type: ignore[return-value]


def _files(files: list[Change], paint: _Paint) -> Iterator[str]:
    if files[0].name == "":
        yield "what it reads out of the context is other than before"
        return
    counts = (
        (sum(change.old is not None and change.new is not None for change in files), "changed"),
        (sum(change.old is None for change in files), "added"),
        (sum(change.new is None for change in files), "removed"),
    )
    told = [f"{count} {'file ' if count == 1 else 'files '}{word}" for count, word in counts if count]
    yield ", ".join(told[:1] + [text.replace("files ", "").replace("file ", "") for text in told[1:]]) + ":"
    # What changed says the most; a folder's own entry the least.
    shown = sorted(files, key=lambda change: (_is_folder(change), change.old is None or change.new is None, change.name))
    names = [_shortened(printable(change.name), _LONGEST) for change in shown[:_MOST_FILES]]
    width = max(map(len, names))
    for name, change in zip(names, shown, strict=False):
        sign, colour = ("+", _GREEN) if change.old is None else ("-", _RED) if change.new is None else ("~", _YELLOW)
        yield f"  {paint(colour, sign)} {name.ljust(width)}  {paint(_DIM, _file(change))}".rstrip()
    if len(files) > _MOST_FILES:
        yield paint(_DIM, f"  … and {len(files) - _MOST_FILES} more")


def _is_folder(change: Change) -> bool:
    return (change.new or change.old or "").startswith("DIRECTORY")


def _file(change: Change) -> str:
    """What is other about a file: its kind, its mode, its size, where it leads, or its content alone."""
    if change.old is None or change.new is None:
        kind, _, length, _ = (change.old or change.new or "").split(" ", 3)
        what = "" if kind == "FILE" else _KINDS.get(kind, kind.lower())
        return what or size(int(length))
    was, now = change.old.split(" ", 3), change.new.split(" ", 3)
    if was[0] != now[0]:
        return f"{_KINDS.get(was[0], was[0].lower())} → {_KINDS.get(now[0], now[0].lower())}"
    told = []
    if was[1] != now[1]:
        told.append(f"mode {was[1]} → {now[1]}")
    if was[2] != now[2]:
        told.append(f"{size(int(was[2]))} → {size(int(now[2]))}")
    elif was[3] != now[3]:
        told.append(f"leads to {now[3]}, not {was[3]}" if now[0] == "SYMLINK" else f"{size(int(now[2]))}, other content")
    return ", ".join(told) or "other extended attributes or hard links"


def build_lines(builds: Sequence[Build], *, now: float) -> list[str]:
    """Builds as a table, the newest first."""
    rows = [("BUILD", "WHEN", "TOOK", "RAN", "IMAGE", "NAMES", "DOCKERFILE")]
    for build in builds:
        ran = sum(outcome.state in (RAN, FAILED) for outcome in build.outcomes.values())
        image = build.image[7:19] if build.image else "failed"
        names = ", ".join(build.tags) or "-"
        rows.append((f"#{build.number}", _since(build, now), f"{build.seconds:.1f}s", str(ran), image, names, build.dockerfile))
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def explanation_document(found: Explanation) -> dict[str, object]:
    """The same for programs."""
    build = found.build
    return {
        "build": build.number,
        "tags": list(build.tags),
        "image": build.image,
        "moment": build.moment,
        "seconds": round(build.seconds, 3),
        "dockerfile": build.dockerfile,
        "compared_with": found.before.number if found.before else None,
        "steps": [
            {
                "place": where(step.trace),
                "name": step.trace.name,
                "key": step.trace.key,
                "state": step.outcome.state,
                "seconds": step.outcome.seconds,
                "reason": step.reason,
                "changes": [{"about": item.about, "name": item.name, "old": item.old, "new": item.new} for item in step.changes],
                "made_by": step.maker.number if step.maker else None,
                "saved_seconds": step.saved_seconds,
            }
            for step in found.steps
        ],
    }
