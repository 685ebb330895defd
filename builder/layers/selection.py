"""What a COPY reads: the paths that its sources mean, and of those what --parents and --exclude leave. Pure.

A pattern is Go's `filepath.Match`, and the links that it meets are not followed; those in the plain part before it are.
Source: buildkit, frontend/dockerfile/dockerfile2llb/convert_copy.go; fsutil, copy/copy.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pybuild.builder.contexts.exclusion import Exclusion, Matched, exclusion
from pybuild.builder.contexts.patterns import is_pattern, translate
from pybuild.builder.errors import CopyError
from pybuild.builder.layers.entry import Entry, Kind
from pybuild.builder.layers.index import Tree, follow, walk
from pybuild.hints import NamedTuple
from pybuild.values import frozen

HiddenBy = Callable[[str], str | None]


@frozen
class Choice:
    """The sources of a COPY in one tree, as written. With `parents` each keeps the directories before its name."""

    sources: tuple[str, ...]
    parents: bool = False
    excludes: tuple[str, ...] = ()

    @property
    def excluded(self) -> Exclusion | None:
        """The patterns of --exclude. Raises CopyError for what is no pattern."""
        try:
            return exclusion(self.excludes) if self.excludes else None
        except (ValueError, re.error):
            raise CopyError(f"--exclude: not a pattern: {' '.join(self.excludes)}", hint="close the '[' with a ']'") from None


@frozen
class Chosen:
    """One path that a source means: `match`, links in it not followed yet; `place` is where it is, `entry` what.

    `included` is the pattern of --parents, which says what below `place` is meant; None is everything.
    """

    match: str
    place: str
    entry: Entry
    included: Included | None = None


class Included:
    """What --parents wants below a directory: paths that fit a pattern, and all that is in them."""

    def __init__(self, pattern: str) -> None:
        parts = _cleaned(pattern)
        try:
            self._patterns = exclusion(("/".join(parts),))
        except (ValueError, re.error):
            raise CopyError(f"not a pattern: {pattern}", hint="close the '[' with a ']'") from None
        plain = next((count for count, part in enumerate(parts) if is_pattern(part)), len(parts))
        self.is_plain = plain == len(parts)
        self._leading = parts[:plain]
        self.path = "/".join(parts)

    @property
    def leading(self) -> str:
        """The directories before the first part that is a pattern, joined."""
        return "/".join(self._leading)

    def step(self, path: str, above: Matched | None) -> tuple[bool, Matched]:
        """Whether a path fits, and what says so for what is below it."""
        return self._patterns.step(path, above)

    def may_reach(self, path: str) -> bool:
        """Whether something below this directory can fit."""
        parts = path.split("/")
        return all(part == wanted for part, wanted in zip(parts, self._leading, strict=False))


def chosen(tree: Tree, choice: Choice, hidden_by: HiddenBy, *, where: str = "") -> Iterator[Chosen]:
    """All that the sources mean, in order.

    `hidden_by` says which line of an ignore file hides a path, `where` is how errors call the tree. Raises CopyError for a
    plain path that is not there, and for a link that leads nowhere.
    """
    for source in choice.sources:
        included = None
        if choice.parents:
            pivot, mark, pattern = source.partition("/./")
            source, pattern = (pivot, pattern) if mark else ("", source)
            if _cleaned(pattern):
                included = Included(pattern)
        for match in select(tree, source, hidden_by, where=where):
            place, entry = _meant(tree, match)
            if included is not None and included.is_plain and entry.kind is Kind.DIRECTORY:
                _check_there(tree, place, included.path, hidden_by, where)
            yield Chosen(match, place, entry, included)


def select(tree: Tree, source: str, hidden_by: HiddenBy, *, where: str = "") -> list[str]:
    """The paths that a source means: itself, or all matches of its pattern, which may be none. Raises CopyError."""
    parts = _cleaned(source)
    plain = next((count for count, part in enumerate(parts) if is_pattern(part)), len(parts))
    start = "/".join(parts[:plain])
    place = follow(tree.lookup, start)
    if tree.lookup(place) is None:
        error = _missing(tree, start, hidden_by, where)
        if _leads_out(source):
            error.hint = "'..' does not lead out of it: take a folder further up, or give the other as --build-context NAME=DIR"
        raise error
    if plain == len(parts):
        return [start]
    found = [place]
    for part in parts[plain:]:
        try:
            expression = re.compile(translate(part) + r"\Z", re.DOTALL)
        except ValueError:
            raise CopyError(f"not a pattern: {source}", hint="close the '[' with a ']'") from None
        found = [
            child.path
            for directory in found
            if (at := tree.lookup(directory)) is not None and at.kind is Kind.DIRECTORY
            for child in tree.children(directory)
            if expression.match(child.name)
        ]
    return found


def within(tree: Tree, choice: Chosen, excluded: Exclusion | None) -> Iterator[tuple[Entry, bool]]:
    """What of a directory is meant: each entry, a directory before what is in it, and whether the entry is only on the way.

    A directory that is on the way to something meant comes as late as that does, and not at all without it.
    """
    if choice.included is None and excluded is None:
        for entry in walk(tree, choice.place):
            yield entry, False
        return
    cut = len(choice.place) + 1 if choice.place else 0
    yield from _Walk(tree, cut, choice.included, excluded).of(choice.place)


class _Opened(NamedTuple):
    """A directory that is being walked: what is left of it, its entry while that waits, and what fits all below it."""

    rest: Iterator[Entry]
    waiting: Entry | None = None
    inside: Matched | None = None
    outside: Matched | None = None


class _Walk:
    def __init__(self, tree: Tree, cut: int, included: Included | None, excluded: Exclusion | None) -> None:
        self._tree = tree
        self._cut = cut
        self._included = included
        self._excluded = excluded
        # Directories on the way to something that may be meant, and told of once that is.
        self._waiting: list[Entry] = []

    def of(self, top: str) -> Iterator[tuple[Entry, bool]]:
        # A stack of our own: directories may lie deeper than Python's goes.
        pending = [_Opened(iter(self._tree.children(top)))]
        while pending:
            directory = pending[-1]
            child = next(directory.rest, None)
            if child is not None:
                yield from self._child(child, directory, pending)
                continue
            pending.pop()
            if self._waiting and self._waiting[-1] is directory.waiting:
                self._waiting.pop()

    def _child(self, child: Entry, above: _Opened, pending: list[_Opened]) -> Iterator[tuple[Entry, bool]]:
        """An entry, if it is meant; what is below it is next, if something there may be."""
        path = child.path[self._cut :]
        is_meant, is_excluded, inside, outside = True, False, above.inside, above.outside
        if self._included is not None:
            is_meant, inside = self._included.step(path, inside)
        if self._excluded is not None:
            is_excluded, outside = self._excluded.step(path, outside)
        is_meant = is_meant and not is_excluded
        if is_meant:
            yield from ((entry, True) for entry in self._waiting)
            self._waiting.clear()
            yield child, False
        if child.kind is not Kind.DIRECTORY or (is_excluded and not (self._excluded and self._excluded.has_exceptions)):
            return
        if not is_meant:
            if self._included is not None and not any(inside or ()) and not self._included.may_reach(path):
                return
            self._waiting.append(child)
        pending.append(_Opened(iter(self._tree.children(child.path)), child, inside, outside))


def listing(tree: Tree, choice: Choice, hidden_by: HiddenBy, *, where: str = "") -> Iterator[tuple[str, Entry]]:
    """Everything that a copy reads: each entry, and its path seen from its source's name."""
    excluded = choice.excluded
    for item in chosen(tree, choice, hidden_by, where=where):
        name = item.match.rpartition("/")[2]
        yield name, item.entry
        if item.entry.kind is Kind.DIRECTORY:
            cut = len(item.place)
            for entry, _ in within(tree, item, excluded):
                yield name + entry.path[cut:], entry


def _meant(tree: Tree, match: str) -> tuple[str, Entry]:
    """What a source is, links followed, and where. Raises CopyError for a link that leads nowhere."""
    place = follow(tree.lookup, match)
    found = tree.lookup(place)
    if found is None:
        raise CopyError(f"{match}: a link to {place}, which is not there", hint="mend the link, or leave it out of the pattern")
    return place, found


def _cleaned(source: str) -> list[str]:
    """The parts of a source path; `..` never leaves the context."""
    parts: list[str] = []
    for part in source.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return parts


def _leads_out(source: str) -> bool:
    """Whether a source path has a `..` at the top, where there is nothing above."""
    depth = 0
    for part in source.split("/"):
        if part == ".." and depth == 0:
            return True
        depth += {"..": -1, "": 0, ".": 0}.get(part, 1)
    return False


def _check_there(tree: Tree, place: str, path: str, hidden_by: HiddenBy, where: str) -> None:
    """Raise CopyError where a plain path of --parents is not there. Links in it are not followed."""
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        entry = tree.lookup("/".join((*filter(None, (place,)), *parts[:count])))
        if entry is None:
            raise _missing(tree, "/".join((*filter(None, (place,)), *parts)), hidden_by, where)
        if entry.kind is Kind.SYMLINK and count < len(parts):
            here = "/".join(parts[:count])
            raise CopyError(f"{path}: {here} is a link, which --parents does not follow", hint="name what it leads to")


def _missing(tree: Tree, path: str, hidden_by: HiddenBy, where: str) -> CopyError:
    if culprit := hidden_by(path):
        return CopyError(f"{path}: excluded from the context by {culprit}", hint=f"add '!{path}' behind that line")
    parent, _, name = path.rpartition("/")
    place = follow(tree.lookup, parent)
    at = tree.lookup(place)
    here = [child.name for child in tree.children(place)] if at is not None and at.kind is Kind.DIRECTORY else []
    from difflib import get_close_matches

    close = get_close_matches(name, here, 1)
    if close:
        hint = f"did you mean {join(parent, close[0])}?"
    elif here:
        hint = f"{parent or 'the top'} has: {', '.join(here[:8])}{', ...' if len(here) > 8 else ''}"
    elif parent:
        hint = _without(tree, parent)
    else:
        hint = "it is empty"
    return CopyError(f"{path}: not found" + (f" in {where}" if where else ""), hint=hint)


def _without(tree: Tree, directory: str) -> str:
    """What to say of a path in a directory that is not there, is empty, or is none."""
    at = tree.lookup(follow(tree.lookup, directory))
    if at is not None:
        return f"{directory} is empty" if at.kind is Kind.DIRECTORY else f"{directory} is no directory"
    from difflib import get_close_matches

    parent, _, name = directory.rpartition("/")
    above = tree.lookup(follow(tree.lookup, parent))
    names = [child.name for child in tree.children(follow(tree.lookup, parent))] if above and above.kind is Kind.DIRECTORY else []
    close = get_close_matches(name, names, 1)
    return f"there is no directory {directory}" + (f"; did you mean {join(parent, close[0])}?" if close else "")


def join(directory: str, name: str) -> str:
    """A path in a directory; that of the root is ""."""
    return f"{directory}/{name}" if directory else name
