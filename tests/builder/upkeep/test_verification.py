"""Damage of every kind is found and named; what can be made of what is sound is made, and nothing else is lost."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import pybuild as api
from pybuild.builder.layers.stored import FileIndexes
from pybuild.builder.records.marks import mark
from pybuild.builder.workspace import Workspace, layers_of
from pybuild.registry import earlier

pytestmark = pytest.mark.damaged


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with two images of the same layers, `gzip` and `zstd`, and one, `other`, that has nothing in common with them."""
    folder = tmp_path / "context"
    for name in ("d/empty", "d/e"):
        (folder / name).mkdir(parents=True)
    (folder / "d" / "file").write_bytes(os.urandom(3_000_000))
    (folder / "d" / "e" / "small").write_text("content")
    (folder / "d" / "link").symlink_to("file")
    os.link(folder / "d" / "e" / "small", folder / "d" / "hard")
    os.mkfifo(folder / "d" / "fifo")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY --chmod=750 d/file /f\nCOPY d /d\n")
    store = tmp_path / "store"
    for name in ("gzip", "zstd"):
        api.build(folder, tags=[name], compression=name, root=store)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY d/hard /\n")
    api.build(folder, tags=["other"], root=store)
    return store


@pytest.fixture
def tree(root: Path) -> Path:
    """The topmost layer of the two images as a directory."""
    with Workspace.open(root) as workspace:
        return Path(workspace.tree(layers_of(workspace.store.find("gzip"))[-1], ()))


def faults(root: Path) -> list[tuple[str, str]]:
    return [(fault.kind, fault.problem) for fault in api.verify(root=root)[0].faults]


def layer(root: Path, name: str, number: int) -> Path:
    with Workspace.open(root) as workspace:
        return Path(workspace.store.path(workspace.store.find(name).manifest.layers[number].digest))


def flip(path: Path, place: int = 20) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def names(root: Path) -> set[str]:
    return {name.familiar for _, tags in api.images(root=root) for name in tags}


def test_a_sound_store_has_no_fault(root, tree):
    found, done = api.verify(root=root, repair=True)
    assert (found.faults, done) == ((), ())
    assert dict(found.counts) == {"image": 3, "blob": 11, "layer": 5, "tree": 1}


def test_a_damaged_layer_is_made_again_from_the_same_one_in_another_compression(root):
    for name in ("gzip", "zstd"):
        path = layer(root, name, 0)
        before = path.read_bytes()
        flip(path)
        found, done = api.verify(root=root, repair=True)
        assert [(fault.kind, fault.needed_by) for fault in found.faults] == [("blob", (f"{name}:latest",))]
        assert done == ("made again from the same layer in another compression",)
        assert path.read_bytes() == before and faults(root) == []


def test_a_damaged_layer_that_nobody_can_make_takes_its_image_along(root):
    path = layer(root, "other", 0)
    flip(path)
    [(kind, problem)] = faults(root)
    assert kind == "blob" and problem.startswith("its content has the digest sha256:") and path.exists()
    _, done = api.verify(root=root, repair=True)
    assert done == ("removed", "image other:latest: removed; build or pull it again")
    assert not path.exists() and names(root) == {"gzip:latest", "zstd:latest"} and faults(root) == []


@pytest.mark.parametrize("part", ["manifest", "config"])
def test_a_damaged_document_takes_its_image_along(root, part):
    with Workspace.open(root) as workspace:
        image = workspace.store.find("other")
        digest = image.descriptor.digest if part == "manifest" else image.manifest.config.digest
        flip(Path(workspace.store.path(digest)), 5)
    assert [kind for kind, _ in faults(root)] == ["blob", "image"]
    api.verify(root=root, repair=True)
    assert names(root) == {"gzip:latest", "zstd:latest"} and faults(root) == []


def test_a_truncated_layer_and_a_missing_one(root):
    os.truncate(layer(root, "gzip", 0), 100)
    layer(root, "zstd", 1).unlink()
    assert sorted(kind for kind, _ in faults(root)) == ["blob", "image"]
    api.verify(root=root, repair=True)
    assert names(root) == {"gzip:latest", "other:latest"} and faults(root) == []


def test_a_file_that_is_no_blob(root):
    (root / "blobs" / "sha256" / "notes").write_text("x")
    assert faults(root) == [("blob", "its name is no digest")]
    api.verify(root=root, repair=True)
    assert faults(root) == [] and len(names(root)) == 3


def touched(path: Path) -> None:
    os.utime(path / "d/e/small", (1, 1))


DAMAGES = {
    "/d/file has other content": lambda path: flip(path / "d/file", 2_500_000),
    "/d/file has 5 bytes, not 3000000": lambda path: os.truncate(path / "d/file", 5),
    "/d/file is missing": lambda path: (path / "d/file").unlink(),
    "/d/empty is missing": lambda path: (path / "d/empty").rmdir(),
    "/d/more is not in the layer": lambda path: (path / "d/more").write_text(""),
    "/d/link leads to hard, not to file": lambda path: ((path / "d/link").unlink(), (path / "d/link").symlink_to("hard")),
    "/d/fifo is a directory, not a fifo": lambda path: ((path / "d/fifo").unlink(), (path / "d/fifo").mkdir()),
    "/d/e/small has another time": touched,
}  # fmt: skip


@pytest.mark.parametrize("problem", DAMAGES)
def test_a_tree_that_is_not_its_layer_is_found_and_made_again(root, tree, problem):
    DAMAGES[problem](tree)
    assert faults(root) == [("tree", problem)]
    assert api.verify(root=root, repair=True)[1] == ("removed; it is made again when it is needed",)
    assert not tree.exists() and faults(root) == [] and len(names(root)) == 3


def test_modes_owners_and_hard_links_of_a_tree_count(root, tree):
    os.chmod(tree / "d/e/small", 0o4755)
    assert faults(root)[0][1].startswith("/d/e/small has the mode 4755, not 644")
    os.chmod(tree / "d/e/small", 0o644)
    shutil.copy2(tree / "d/hard", tree / "d/copy")
    os.rename(tree / "d/copy", tree / "d/hard")
    assert faults(root)[0][1] in ("/d/hard is not the same file as /d/e/small", "/d/e/small is not the same file as /d/hard")


@pytest.mark.root
def test_owners_of_a_tree_count(root, tree):
    os.chown(tree / "d/file", 7, 8)
    assert faults(root) == [("tree", "/d/file belongs to 7:8, not to 0:0")]


def test_a_wrong_file_index_is_forgotten(root, tree):
    with Workspace.open(root) as workspace:
        image = workspace.store.find("gzip")
        from pybuild.builder.layers.extraction import index

        found = layers_of(image)[-1]
        entries = index(found.descriptor, workspace.store, found.diff_id)
        indexes = FileIndexes(workspace.database.connection)
        indexes.add(found.diff_id, [entry._replace(mode=0o777) if entry.path == "d/file" else entry for entry in entries])
    assert faults(root) == [("file index", "/d/file is not as in the layer")]
    api.verify(root=root, repair=True)
    assert faults(root) == []


def test_a_damaged_index_json_is_made_of_the_manifests_that_are_here(root):
    ids = {image.id for image, _ in api.images(root=root)}
    (root / "index.json").write_text("{")
    assert [kind for kind, _ in faults(root)] == ["index.json"]
    assert api.verify(root=root, repair=True)[1][0].startswith("made anew of the 3 images whose manifests are here")
    assert {image.id for image, _ in api.images(root=root)} == ids and faults(root) == []


def test_names_come_back_from_before_the_last_change_of_a_damaged_index_json(root):
    api.tag("other", "last", root=root)
    (root / "index.json").write_bytes(b"")
    done = api.verify(root=root, repair=True)[1][0]
    assert "; 3 names are those of before the last change, later ones are lost" in done
    assert {str(name) for _, names in api.images(root=root) for name in names} == {
        f"docker.io/library/{name}:latest" for name in ("gzip", "zstd", "other")
    }
    assert faults(root) == []


def test_names_of_what_is_gone_do_not_come_back(root):
    api.remove("gzip", root=root)
    api.prune(root=root)
    (root / "index.json").write_text("{")
    api.verify(root=root, repair=True)
    assert {name.familiar for _, names in api.images(root=root) for name in names} == {"zstd:latest", "other:latest"}


def test_a_state_of_index_json_stays_for_some_minutes(root, monkeypatch):
    now = [1.2e9]
    monkeypatch.setattr(earlier.time, "time", lambda: now[0])
    for number in range(9):
        api.tag("other", f"n{number}", root=root)
        now[0] += 50
    found = sorted((root / "locks").glob("index-*.json"), key=lambda path: path.stat().st_mtime_ns)
    # The newest knows all but the last name; the oldest is of two turns before, which has reached the disk.
    assert [len(json.loads(path.read_bytes())["manifests"]) for path in found] == [7, 10, 11]
    found[-1].write_bytes(b"")
    read = earlier.newest(str(root))
    assert read is not None and len(read.manifests) == 10


def test_a_damaged_database_keeps_what_is_sound(root, tmp_path):
    with Workspace.open(root) as workspace:
        workspace.database.connection.executemany(
            "insert into memos values ('filler', ?, ?, ?)",
            ((f"{n:05}", b"x" * 500, mark(("filler", f"{n:05}", b"x" * 500))) for n in range(2000)),
        )
        before = workspace.database.connection.execute("select count(*) from steps").fetchone()[0]
        workspace.database.connection.execute("pragma wal_checkpoint(truncate)")
    path = root / "pybuild.db"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 8192] = b"\xff" * 8192
    path.write_bytes(content)
    found, done = api.verify(root=root, repair=True)
    assert [fault.kind for fault in found.faults] == ["database"] and done[0].startswith("made anew; ")
    with Workspace.open(root) as workspace:
        connection = workspace.database.connection
        assert connection.execute("select count(*) from steps").fetchone()[0] == before
        assert 1000 < connection.execute("select count(*) from memos").fetchone()[0] < 2010
    assert faults(root) == []


def test_a_row_that_is_not_as_written_is_found_and_goes(root, tmp_path):
    with Workspace.open(root) as workspace:
        workspace.database.connection.execute("update blobs set media_type = 'application/vnd.oci.image.laydr.v1.tar+zstd'")
        count = workspace.database.connection.execute("select count(*) from blobs").fetchone()[0]
    assert faults(root) == [("database", f"{count} rows are not as written")]
    assert api.verify(root=root, repair=True)[1][0].startswith("made anew; ")
    assert faults(root) == [] and len(names(root)) == 3


def test_a_file_that_is_no_database_is_said_in_the_next_build(root, tmp_path):
    (root / "pybuild.db").write_bytes(b"no database" * 1000)
    events = []

    class Collected:
        emit = events.append

    result = api.build(tmp_path / "context", root=root, progress=Collected())
    assert "pybuild.db was damaged" in next(event.message for event in events if type(event).__name__ == "Notice")
    assert faults(root) == [] and result.image_id
