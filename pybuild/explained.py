"""An explanation of a build as people read it: a line for each step, and below it why. Pure but for the clock, an argument."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from pybuild.builder.records import explaining
from pybuild.builder.records.explaining import Change, Explained, Explanation, where
from pybuild.builder.records.history import CANCELED, FAILED, HIT, RAN, UNTOUCHED, Build
from pybuild.explained_files import file_lines
from pybuild.listings import since
from pybuild.paint import BLUE, BOLD, DIM, GREEN, RED, YELLOW, Paint
from pybuild.progress.text import first_line, printable, seconds, shortened

_WIDTH = 100
_LEAST_SAVED = 0.1
_LONGEST = 60
_WORDS = {
    HIT: ("HIT", BLUE),
    RAN: ("RAN", GREEN),
    FAILED: ("FAILED", RED),
    CANCELED: ("ENDED", DIM),
    UNTOUCHED: ("UNDONE", DIM),
}
_REASONS = {
    explaining.NEW: "this step is new",
    explaining.FIRST: "this is the first build of this Dockerfile here",
    explaining.NO_CACHE: "nothing changed, but --no-cache asks for it anew",
    explaining.NO_CACHE_FILTER: "nothing changed, but --no-cache-filter asks for it anew",
    explaining.NEEDS_FRESH: "nothing changed, but what it needs was done anew for --no-cache-filter, and came out otherwise",
    explaining.TAKEN_AGAIN: "nothing changed: the file is here, and is taken anew for the step that wants it",
    explaining.READ_AGAIN: "nothing changed: its files are listed anew, for nothing is kept of it in a stage that is only read",
    explaining.GONE: "nothing changed, but its result is not in the store any more",
    explaining.REPACKED: "nothing changed, but its layer was never compressed like this",
    explaining.OTHER_KEYS: "the same step, but this pybuild makes other cache keys",
}

_ENDS = {
    CANCELED: "it was broken off, for the build had failed or was interrupted",
    UNTOUCHED: "it was not begun, for the build had failed or was interrupted",
}


def explanation_lines(found: Explanation, *, now: float, colour: bool = False, only: str | None = None) -> list[str]:
    """All lines; `only` shows the steps that it names, as `named` finds them."""
    paint = Paint(colour)
    if only is not None:
        return [line for step in named(found, only) for line in _step(step, found, now, paint, is_alone=True)]
    lines = [*_head(found, now, paint), ""]
    for step in found.steps:
        # A base that is as before is what everybody takes for granted.
        if step.trace.kind != "SourceStep" or step.changes:
            lines += _step(step, found, now, paint)
    return lines


def step_lines(step: Explained, found: Explanation, *, now: float) -> list[str]:
    """What is said of one step, plain."""
    return list(_step(step, found, now, Paint(False), is_alone=True))


def named(found: Explanation, only: str) -> tuple[Explained, ...]:
    """The steps at a place (2, 2/5, `build 2`, `[build 2/5]`), else those of a stage, else those with that in their lines."""
    wanted = only.strip().removeprefix("[").removesuffix("]").lower()
    for fits in (_stands_at, _is_of_stage, _says):
        if steps := tuple(step for step in found.steps if fits(step, wanted)):
            return steps
    return ()


def _stands_at(step: Explained, place: str) -> bool:
    stage, full = f"{step.trace.stage} ".lstrip().lower(), step.trace.place
    return place in {head + number for head in ("", stage) for number in (full, full.partition("/")[0])}


def _is_of_stage(step: Explained, stage: str) -> bool:
    return step.trace.stage.lower() == stage != ""


def _says(step: Explained, words: str) -> bool:
    return words in step.trace.name.lower()


def _head(found: Explanation, now: float, paint: Paint) -> Iterator[str]:
    build, before = found.build, found.before
    steps = [step for step in found.steps if step.trace.kind != "SourceStep"]
    states = [step.outcome.state for step in steps]
    ran, saved = sum(state in (RAN, FAILED) for state in states), sum(step.saved_seconds for step in found.steps)
    is_as_before = states.count(HIT) == len(steps)
    did = "ran no step: everything is as it was" if is_as_before else f"ran {ran or 'none'} of {_counted(len(steps), 'step')}"
    more = ""
    if not steps:
        did = "has no step that changes files"
    elif is_as_before:
        more = f" ({_counted(len(steps), 'hit')}{f' saved {seconds(saved)}' if saved >= _LEAST_SAVED else ''})"
    elif saved >= _LEAST_SAVED:
        more = f"; hits saved {seconds(saved)}"
    if build.image is None:
        did = f"{'was interrupted' if CANCELED in states and FAILED not in states else 'failed'}; it {did}"
    yield f"{paint(BOLD, _title(build))} {did}{more}"
    if before is None:
        yield paint(DIM, "the first build of this Dockerfile here: there is nothing to compare it with")
    else:
        target = "" if before.target == build.target else f", of {_target(before)} and not {_target(build)}"
        yield paint(DIM, f"compared with {_title(before)}, {_since(before, now)}{target}")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _target(build: Build) -> str:
    return f"the stage {printable(build.target)}" if build.target else "the last stage"


def _title(build: Build) -> str:
    return printable(build.title)


def _since(build: Build, now: float) -> str:
    text = since(build.moment, now)
    return text[0].lower() + text[1:]


def _step(step: Explained, found: Explanation, now: float, paint: Paint, *, is_alone: bool = False) -> Iterator[str]:
    trace, outcome = step.trace, step.outcome
    word, colour = _WORDS[outcome.state]
    if trace.kind == "SourceStep":
        word, colour = "BASE", YELLOW
    name = shortened(printable(" ".join(trace.name.split())), _WIDTH - 20)
    took = f"  {outcome.seconds:.1f}s" if outcome.state in (RAN, FAILED) and outcome.seconds >= 0.05 else ""
    if outcome.state == HIT and trace.kind != "SourceStep":
        took = f"  ← {_maker(step, found, now)}"
    yield f"{paint(colour, word.ljust(6))} {paint(DIM, where(trace))} {name}{paint(DIM, took)}"
    yield from (f"           {line}" for line in _why(step, found, now, paint, is_alone=is_alone))


def _why(step: Explained, found: Explanation, now: float, paint: Paint, *, is_alone: bool) -> Iterator[str]:
    if step.outcome.state in _ENDS:
        # Beside what ended the build nothing has to be said.
        yield from (_ENDS[step.outcome.state],) if is_alone else ()
        return
    if step.trace.kind == "SourceStep" and not step.changes:
        yield f"its image is {printable(str(step.trace.fields.get('digest') or step.trace.fields.get('image')))}"
        return
    if step.outcome.state == HIT and step.trace.kind != "SourceStep":
        if step.has_new_inputs:
            yield paint(DIM, "what it needs was made anew, and came out as it was")
        return
    # That there is nothing to compare with is in the head, once for all steps.
    if step.reason is not None and (is_alone or step.reason != explaining.FIRST):
        yield _reason(step.reason, found, now)
    files = [change for change in step.changes if change.about == explaining.FILE]
    for change in step.changes:
        if change.about != explaining.FILE:
            yield from _change(change, paint)
        elif change is files[0]:
            yield from file_lines(files, paint)
    if step.outcome.state == FAILED and step.outcome.error:
        yield f"it failed: {printable(first_line(step.outcome.error.removesuffix(f': {step.trace.name}')))}"


def _maker(step: Explained, found: Explanation, now: float) -> str:
    """Whose result a hit is."""
    if step.maker is None:
        return "a build that is not in the history of this store"
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


def _change(change: Change, paint: Paint) -> Iterator[str]:
    match change.about:
        case explaining.COMMAND:
            yield "its command is another:"
            yield from _replaced(change.old or "", change.new or "", paint)
        case explaining.BELOW if change.new is None:
            yield f"{paint(DIM, change.name)} {_step_name(change)}, which it stood on, is gone"
        case explaining.BELOW:
            yield f"stands on {paint(DIM, change.name)} {_step_name(change)}, which {_became(change)}"
        case explaining.FETCHED:
            yield f"takes {paint(DIM, change.name)} {_step_name(change)}, which {_became(change)}"
        case explaining.REMOTE:
            yield f"its {change.name} is another: {paint(RED, _digest(change.old))} → {paint(GREEN, _digest(change.new))}"
        case explaining.ORIGIN:
            yield f"reads from a stage where {paint(DIM, change.name)} {_step_name(change)} {_became(change)}"
        case explaining.BASE:
            yield f"{change.name} is another image:" if change.name else "it is from another image:"
            yield from _replaced(change.old or "none", change.new or "none", paint)
        case explaining.ARG | explaining.ENV | explaining.OPTION | explaining.TIME:
            head = f"{change.about.upper()} {change.name}" if change.about in (explaining.ARG, explaining.ENV) else change.name
            old, new = _value(change.old), _value(change.new)
            if len(old) + len(new) > _LONGEST or "\n" in (change.old or "") + (change.new or ""):
                yield f"{head} is another:"
                yield from _replaced(change.old or "not set", change.new or "not set", paint)
            else:
                yield f"{head}: {paint(RED, old)} → {paint(GREEN, new)}"


def _step_name(change: Change) -> str:
    return shortened(printable(" ".join((change.new or change.old or "").split())), _LONGEST)


def _became(change: Change) -> str:
    return "is new" if change.old is None else "changed"


def _value(text: str | None) -> str:
    return "not set" if text is None else printable(text) if text else "empty"


def _digest(text: str | None) -> str:
    """The beginning of a digest or of a commit."""
    return "none" if text is None else printable(text.removeprefix("sha256:")[:12])


def _replaced(old: str, new: str, paint: Paint) -> Iterator[str]:
    """Two texts below each other, without the lines that they share; of long lines the part that differs."""
    was, now = old.split("\n"), new.split("\n")
    for tag, start, end, first, last in SequenceMatcher(None, was, now, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        ours, theirs = _focused("\n".join(was[start:end]), "\n".join(now[first:last]))
        yield from (paint(RED, f"  - {printable(line)}") for line in ours.split("\n") if start != end)
        yield from (paint(GREEN, f"  + {printable(line)}") for line in theirs.split("\n") if first != last)


def _focused(old: str, new: str) -> tuple[str, str]:
    """Two lines as they are, or the surroundings of the first difference where they are too long."""
    if max(len(old), len(new)) <= _WIDTH or "\n" in old + new:
        return old, new
    same = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    start = max(0, same - _WIDTH // 3)
    return tuple(("…" if start else "") + shortened(text[start:], _WIDTH) for text in (old, new))  # type: ignore[return-value]


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


def explanation_document(found: Explanation, *, only: str | None = None) -> dict[str, object]:
    """The same for programs."""
    steps = found.steps if only is None else named(found, only)
    compared_with = found.before.number if found.before else None
    return _build_document(found.build) | {"compared_with": compared_with, "steps": [_step_document(step) for step in steps]}


def builds_document(builds: Sequence[Build]) -> list[dict[str, object]]:
    """A list of builds for programs, the newest first."""
    return [_build_document(build) for build in builds]


def _build_document(build: Build) -> dict[str, object]:
    return {
        "build": build.number,
        "tags": list(build.tags),
        "image": build.image,
        "moment": build.moment,
        "seconds": round(build.seconds, 3),
        "dockerfile": build.dockerfile,
    }


def _step_document(step: Explained) -> dict[str, object]:
    return {
        "place": where(step.trace),
        "name": step.trace.name,
        "key": step.trace.key,
        "state": step.outcome.state,
        "seconds": step.outcome.seconds,
        "error": step.outcome.error,
        "reason": step.reason,
        "changes": [{"about": item.about, "name": item.name, "old": item.old, "new": item.new} for item in step.changes],
        "made_by": step.maker.number if step.maker else None,
        "saved_seconds": step.saved_seconds,
    }
