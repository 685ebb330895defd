"""Keeping the store in order, as the command line and the Python API have it: what it takes, prune, verify, and the limit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping

from pybuild.builder.upkeep import reserve
from pybuild.builder.upkeep.holdings import IMAGE, KINDS, LEFTOVER, MOUNT, STEP, TREE, Holding, Holdings, holdings
from pybuild.builder.upkeep.pruning import Pruned, Wish, choose
from pybuild.builder.upkeep.pruning import prune as prune_workspace
from pybuild.builder.workspace import Workspace, place_of
from pybuild.hints import TYPE_CHECKING
from pybuild.limits import limit_of
from pybuild.registry.errors import StoreError

if TYPE_CHECKING:
    from pybuild.builder.upkeep.verification import Verified

Row = dict[str, object]
_TITLES = dict(zip(KINDS, ("Images", "Steps", "Base trees", "Cache mounts", "Leftovers"), strict=True))


def _open(root: str | os.PathLike[str] | None) -> Workspace:
    return Workspace.open(place_of(root, os.environ))


def disk_usage(*, root: str | os.PathLike[str] | None = None) -> Holdings:
    """All that the store holds, with what it takes on disk."""
    from pybuild.builder.sandbox.inside import over_trees

    def look() -> Holdings:
        with _open(root) as workspace:
            return holdings(workspace)

    return over_trees(str(place_of(root, os.environ)), look)


def prune(
    *,
    with_all: bool = False,
    before: float | None = None,
    keep_bytes: int | None = None,
    dry_run: bool = False,
    waiting: Callable[[], None] | None = lambda: None,
    root: str | os.PathLike[str] | None = None,
) -> Pruned:
    """Remove what no tag needs, as `Wish` says; `dry_run` only tells. Builds at work are waited for, after `waiting` was called.

    With no `waiting`, raises StoreError while others are at work.
    """
    wish = Wish(with_all, before, keep_bytes)
    reserve.give_up(str(place_of(root, os.environ)))
    with _open(root) as workspace:
        if dry_run:
            found = holdings(workspace)
            chosen = choose(found, wish)
            return Pruned(chosen, found.freed(chosen))
        done = prune_workspace(workspace, wish, waiting=waiting)
        if done is None:
            raise StoreError("others are at work in the store", hint="try again when they have ended")
        return done


def verify(
    *, repair: bool = False, jobs: int = 2, root: str | os.PathLike[str] | None = None
) -> tuple[Verified, tuple[str, ...]]:
    """Look whether everything in the store is what its digests and records say; with `repair`, put it right.

    The texts say what was done about each fault, and about images that lost a part by it.
    """
    from pybuild.builder.sandbox.inside import over_trees
    from pybuild.builder.upkeep.verification import verify as verify_workspace

    def look() -> tuple[Verified, tuple[str, ...]]:
        with _open(root) as workspace, workspace.store.lock("build", exclusive=repair):
            found = verify_workspace(workspace, jobs=jobs)
            if not repair or not found.faults:
                return found, ()
            from pybuild.builder.upkeep.repair import repair as repair_workspace

            return found, repair_workspace(workspace, found)

    return over_trees(str(place_of(root, os.environ)), look)


def keep_to_limit(workspace: Workspace, environ: Mapping[str, str]) -> None:
    """Prune what was unused for longest, if the store has outgrown its limit and nobody else is at work in it."""
    limit = limit_of(environ, shutil.disk_usage(workspace.store.root).total)
    if limit is not None:
        prune_workspace(workspace, Wish(with_all=True, keep_bytes=limit))


def usage_rows(found: Holdings) -> list[Row]:
    """A row for each kind, as docker's `system df` has them: how many, how many of them tags need, bytes, bytes that can go."""
    kinds = [kind for kind in KINDS if kind != LEFTOVER]
    rows = [_row(_TITLES[kind], [item for item in found.items if item.kind == kind], found) for kind in kinds]
    rows.append({"Type": "Records", "Total": 1, "Active": 1, "Size": found.record_bytes, "Reclaimable": 0})
    rows.append(_row(_TITLES[LEFTOVER], [item for item in found.items if item.kind == LEFTOVER], found))
    return rows


def item_rows(found: Holdings) -> list[Row]:
    """A row for each holding, the largest first; `Used` in seconds since 1970."""
    rows: list[Row] = []
    for item in found.items:
        state = "tagged" if item.is_pinned else "serves a tag" if item.serves_tag else "free"
        rows.append({"Kind": item.kind, "Name": item.title, "Used": item.used, "Size": found.size((item,)), "State": state})
    return sorted(rows, key=lambda row: (-int(str(row["Size"])), str(row["Kind"]), str(row["Name"])))


def pruned_lines(done: Pruned) -> list[str]:
    """What went: a line for each image and cache mount, and one for how many steps, trees and leftovers."""
    lines = [f"{item.kind} {item.title}" for item in done.items if item.kind in (IMAGE, MOUNT)]
    for kind, word in ((STEP, "step"), (TREE, "base tree"), (LEFTOVER, "leftover")):
        if count := sum(item.kind == kind for item in done.items):
            lines.append(f"{count} {word}{'' if count == 1 else 's'}")
    return lines


def _row(title: str, items: list[Holding], found: Holdings) -> Row:
    pinned = found.pinned
    # What an image keeps is told there: a step's layer that a tag keeps takes no space of its own.
    images = {place for item in found.items if item.kind == IMAGE for place in item.places}
    own = {place for item in items for place in item.places}
    shown = own - images if items and items[0].kind == STEP else own
    return {
        "Type": title,
        "Total": len(items),
        "Active": sum(item.is_pinned or item.serves_tag for item in items),
        "Size": sum(found.sizes.get(place, 0) for place in shown),
        "Reclaimable": sum(found.sizes.get(place, 0) for place in shown - pinned),
    }
