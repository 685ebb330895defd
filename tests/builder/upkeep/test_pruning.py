"""What a prune takes: never what a tag keeps, the longest unused first, and each byte counted once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pybuild as api
from pybuild.builder.upkeep.holdings import IMAGE, LEFTOVER, MOUNT, STEP, TREE, Holding, Holdings, disk_usage, holdings
from pybuild.builder.upkeep.pruning import Wish, choose, prune
from pybuild.builder.workspace import CACHES, Workspace
from pybuild.registry import Reference

TAGGED = Holding(IMAGE, "t", "a:1", 1.0, ("b/1", "b/2"), is_pinned=True)
OLD_IMAGE = Holding(IMAGE, "o", "o", 5.0, ("b/2", "b/3"))
SERVING = Holding(STEP, "s", "s", 2.0, ("b/2", "t/s"), serves_tag=True)
STALE = Holding(STEP, "x", "x", 3.0, ("b/3", "b/4"))
CACHE = Holding(MOUNT, "m", "m", 4.0, ("c/m",), serves_tag=True)
LOOSE = Holding(LEFTOVER, "b/9", "b/9", 9.0, ("b/9",))
SIZES = {"b/1": 1, "b/2": 2, "b/3": 4, "b/4": 8, "t/s": 16, "c/m": 32, "b/9": 64}
FOUND = Holdings((TAGGED, OLD_IMAGE, SERVING, STALE, CACHE, LOOSE), SIZES, 0)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        (Wish(), (LOOSE, STALE, OLD_IMAGE)),
        (Wish(with_all=True), (LOOSE, STALE, OLD_IMAGE, SERVING, CACHE)),
        (Wish(before=4.5), (STALE,)),
        (Wish(with_all=True, before=4.5), (STALE, SERVING, CACHE)),
        (Wish(keep_bytes=1000), ()),
        (Wish(with_all=True, keep_bytes=60), (LOOSE,)),
        (Wish(with_all=True, keep_bytes=59), (LOOSE, STALE)),
        (Wish(with_all=True, keep_bytes=51), (LOOSE, STALE, OLD_IMAGE)),
        (Wish(keep_bytes=0), (LOOSE, STALE, OLD_IMAGE)),
    ],
)
def test_what_goes(wish, expected):
    assert choose(FOUND, wish) == expected


def test_bytes_that_others_keep_are_not_counted_as_freed():
    assert FOUND.freed((STALE,)) == 8
    assert FOUND.freed((STALE, OLD_IMAGE)) == 12
    assert FOUND.size((TAGGED, OLD_IMAGE)) == 7
    assert FOUND.pinned == {"b/1", "b/2"}


def test_a_bare_record_is_not_forgotten_for_room():
    record = Holding(STEP, "r", "r", 0.0, ("b/1",), serves_tag=True)
    assert choose(Holdings((TAGGED, record), SIZES, 0), Wish(with_all=True, keep_bytes=0)) == ()


PLACES = st.sets(st.sampled_from("abcdef"), max_size=3).map(tuple)
ITEMS = st.lists(
    st.builds(
        lambda kind, name, used, places, tag: Holding(kind, str(name), "", used, places, is_pinned=tag == 2, serves_tag=tag == 1),
        st.sampled_from((IMAGE, STEP, TREE)), st.integers(0, 99), st.floats(0, 9), PLACES, st.integers(0, 2),
    ),
    max_size=12, unique_by=lambda item: (item.kind, item.name),
)  # fmt: skip
WISHES = st.builds(Wish, st.booleans(), st.none() | st.floats(0, 9), st.none() | st.integers(0, 99))


@given(ITEMS, WISHES)
def test_a_tag_loses_nothing_and_the_bytes_add_up(items, wish):
    found = Holdings(tuple(items), dict.fromkeys("abcdef", 10), 0)
    chosen = choose(found, wish)
    assert not any(item.is_pinned for item in chosen)
    rest = Holdings(tuple(item for item in items if item not in chosen), found.sizes, 0)
    assert found.freed(chosen) == found.size(items) - rest.size(rest.items)
    if wish.with_all and wish.before is None and wish.keep_bytes is not None:
        unpinned = rest.size(rest.items) - rest.size(item for item in rest.items if item.is_pinned)
        assert unpinned <= max(0, wish.keep_bytes)


@pytest.fixture
def context(tmp_path):
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch AS a\nCOPY x /x\nFROM scratch\nCOPY --from=a /x /y\nCOPY x /z\n")
    (folder / "x").write_bytes(os.urandom(50_000))
    return folder


def content(root):
    return sum(disk_usage(item.path) for name in ("blobs/sha256", "trees", "tmp") for item in os.scandir(root / name))


def test_a_prune_leaves_tagged_images_and_what_rebuilds_them(context, workspace, tmp_path):
    root = Path(workspace.store.root)
    first = api.build(context, root=root)
    (context / "x").write_bytes(os.urandom(50_000))
    second = api.build(context, tags=["kept"], root=root)
    (root / "tmp" / "half").write_bytes(b"x" * 5000)
    (root / "trees" / "lost").mkdir()
    before = content(root)
    done = prune(workspace, Wish())
    assert {item.kind for item in done.items} == {IMAGE, STEP, LEFTOVER}
    assert before - content(root) == done.freed > 100_000
    assert [image.id for image in workspace.store.images()] == [second.image_id] != [first.image_id]
    assert not os.listdir(root / "tmp") and not os.listdir(root / "trees")
    events = []
    assert api.build(context, root=root, progress=Collected(events)).image_id == second.image_id
    assert all(event.is_cached for event in events if type(event).__name__ == "StepFinished" and event.step not in (0, 2))


def test_all_leaves_tagged_images_alone(context, workspace):
    root = Path(workspace.store.root)
    kept = api.build(context, tags=["kept"], root=root)
    (root / CACHES / "m").mkdir(parents=True)
    prune(workspace, Wish(with_all=True))
    image = workspace.store.find("kept")
    assert image.id == kept.image_id and {f"sha256:{name}" for name in os.listdir(root / "blobs" / "sha256")} == {
        image.descriptor.digest, *(blob.digest for blob in image.manifest.blobs)
    }  # fmt: skip
    assert not os.listdir(root / CACHES)
    assert [item.kind for item in holdings(workspace).items] == [IMAGE]


def test_nothing_goes_while_a_build_is_at_work(context, workspace, tmp_path):
    api.build(context, root=workspace.store.root)
    with Workspace.open(workspace.store.root) as other, other.store.in_use():
        assert prune(workspace, Wish(with_all=True)) is None
        assert len(workspace.store.images()) == 1
    assert prune(workspace, Wish(with_all=True)).items
    assert workspace.store.images() == ()


def test_what_a_warm_build_uses_counts_as_used(context, workspace):
    root = Path(workspace.store.root)
    api.build(context, tags=["kept"], root=root)
    workspace.database.connection.execute("update uses set moment = 1")
    old = [item for item in holdings(workspace).items if item.kind == STEP]
    assert {item.used for item in old} == {1.0}
    api.build(context, root=root)
    assert all(item.used > 1.6e9 for item in holdings(workspace).items if item.kind == STEP)
    workspace.store.untag(Reference.parse("kept"))


def test_a_hard_link_takes_its_bytes_once(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "a").write_bytes(b"x" * 100_000)
    before = disk_usage(str(folder))
    os.link(folder / "a", folder / "b")
    assert disk_usage(str(folder)) == before


class Collected:
    def __init__(self, events):
        self.emit = events.append
