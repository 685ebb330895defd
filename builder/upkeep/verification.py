"""Whether all that a store holds is what its names and records say. Only reads; `repair` acts on what is found here.

Every blob is hashed, every layer unpacked and its diffID compared, every tree and file index compared with the layer it came
from, every image followed from its tag down, and the database checked by SQLite itself. A tree that a RUN left has more than
its layer (files that were opened for writing and are as before), and its times may have been clamped in the layer; one that was
never packed has nothing to be compared with.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from pybuild.builder.errors import BuildError, LayerError
from pybuild.builder.layers.comparison import Comparison
from pybuild.builder.layers.entry import Entry
from pybuild.builder.layers.extraction import opened
from pybuild.builder.layers.index import RecipeView
from pybuild.builder.layers.stored import FileIndexes
from pybuild.builder.workspace import Workspace, layers_of
from pybuild.lean import sqlite3
from pybuild.registry import Descriptor, Digest, media, pushed
from pybuild.registry.errors import BlobNotFound, DigestMismatch, RegistryError, UnsupportedMediaType
from pybuild.registry.origins import repositories
from pybuild.registry.parts import Parts
from pybuild.values import frozen

BLOB, IMAGE, TREE, INDEX, FILE_INDEX, DATABASE = "blob", "image", "tree", "index.json", "file index", "database"
_BLOCK = 1 << 20


@frozen
class Fault:
    """One thing that is not as it should be: what it is, its name (a digest, a tree's name), what is wrong, who needs it."""

    kind: str
    name: str
    problem: str
    needed_by: tuple[str, ...] = ()


@frozen
class Verified:
    """What was looked at, how many of each, and what was found."""

    faults: tuple[Fault, ...]
    counts: tuple[tuple[str, int], ...]


def verify(workspace: Workspace, *, jobs: int = 2) -> Verified:
    """Look at everything. The caller holds the build lock, so that nothing is deleted meanwhile."""
    return _Verification(workspace, jobs).run()


class _Verification:
    def __init__(self, workspace: Workspace, jobs: int) -> None:
        self._workspace = workspace
        self._store = workspace.store
        self._jobs = jobs
        self._faults: list[Fault] = []
        self._users: dict[str, list[str]] = {}
        # Layers to unpack: the blob, and what its tar has to be.
        self._layers: dict[tuple[str, str], tuple[Descriptor, Digest]] = {}
        self._trees: dict[str, list[str]] = {}
        self._images = 0

    def run(self) -> Verified:
        is_readable = self._database()
        for item in self._entries():
            self._image(item)
        if is_readable:
            self._records()
        blobs = self._names()
        packed = {digest for digest, _ in self._layers}
        with ThreadPoolExecutor(self._jobs) as pool:
            checks = [pool.submit(self._layer, *layer) for layer in self._layers.values()]
            checks += [pool.submit(self._blob, digest) for digest in blobs if digest not in packed]
            for check in checks:
                check.result()
        trees = len({name for names in self._trees.values() for name in names})
        counts = (("image", self._images), ("blob", len(blobs)), ("layer", len(self._layers)), ("tree", trees))
        # A tree is looked at with every blob of its layer.
        faults = dict.fromkeys(sorted(self._faults, key=lambda fault: (fault.kind, fault.name)))
        return Verified(tuple(faults), counts)

    def _note(self, kind: str, name: str, problem: str) -> None:
        needed = tuple(dict.fromkeys(self._users.get(name, ())))
        self._faults.append(Fault(kind, name, problem, needed))

    # The database, and what its records promise

    def _database(self) -> bool:
        database = self._workspace.database
        if database.was_damaged:
            self._note(DATABASE, "pybuild.db", "it was no database, and has been begun anew")
        try:
            with database.mutex:
                said = [row[0] for row in database.connection.execute("pragma integrity_check(3)")]
        except sqlite3.DatabaseError as error:
            said = [str(error)]
        if said == ["ok"]:
            if rows := database.unsound_rows():
                self._note(DATABASE, "pybuild.db", f"{rows} {'row is' if rows == 1 else 'rows are'} not as written")
            return True
        self._note(DATABASE, "pybuild.db", "; ".join(said).replace("\n", " "))
        return False

    def _records(self) -> None:
        database = self._workspace.database
        with database.mutex:
            rows = database.connection.execute("select diff_id, media_type, digest, size from blobs").fetchall()
            trees = database.connection.execute("select diff_id, tree from steps where diff_id is not null and tree is not null")
            for diff_id, tree in trees.fetchall():
                if os.path.isdir(self._workspace.tree_path(tree)):
                    self._trees.setdefault(diff_id, []).append(tree)
        for diff_id, media_type, digest, size in rows:
            with contextlib.suppress(RegistryError):
                blob = Descriptor(media_type, Digest(digest), size)
                if os.path.exists(self._store.path(blob.digest)):
                    self._layers.setdefault((digest, diff_id), (blob, Digest(diff_id)))

    # Images

    def _entries(self) -> Iterator[Descriptor]:
        try:
            yield from {item.digest: item for item in self._store.index().manifests}.values()
            yield from pushed.manifests(self._store)
        except (RegistryError, FileNotFoundError) as error:
            self._note(INDEX, "index.json", str(getattr(error, "message", "it is missing")))

    def _image(self, item: Descriptor) -> None:
        self._images += 1
        names = [name.familiar for name in self._store.names(item.digest)] or [item.digest.short]
        self._users.setdefault(item.digest, []).extend(names)
        try:
            image = self._store.image(item)
        except (DigestMismatch, BlobNotFound) as error:
            self._users.setdefault(error.where if isinstance(error, DigestMismatch) else item.digest, []).extend(names)
            self._note(IMAGE, item.digest, f"its manifest or config cannot be read: {error.message}")
            return
        except UnsupportedMediaType:
            self._artifact(item, names)
            return
        except RegistryError as error:
            self._note(IMAGE, item.digest, error.message)
            return
        if len(image.manifest.layers) != len(image.config.diff_ids):
            self._note(IMAGE, item.digest, "its manifest and its config have different numbers of layers")
            return
        for blob in (image.manifest.descriptor, *image.manifest.blobs):
            self._users.setdefault(blob.digest, []).extend(names)
        for layer in layers_of(image):
            blob = layer.descriptor
            if blob.media_type in media.FOREIGN_LAYERS and not self._store.has(blob):
                continue
            if not os.path.exists(self._store.path(blob.digest)):
                if repositories(self._store, blob.digest):
                    # It was left in its registry, and comes when somebody needs it.
                    continue
                self._note(IMAGE, item.digest, f"its layer {blob.digest} is missing")
                continue
            self._layers[blob.digest, layer.diff_id] = (blob, layer.diff_id)
            if os.path.isdir(self._workspace.tree_path(layer.diff_id.hex)):
                self._trees.setdefault(layer.diff_id, []).append(layer.diff_id.hex)

    def _artifact(self, item: Descriptor, names: list[str]) -> None:
        """What is no image, but has a name, or was pushed by its digest: all that it leads to has to be there."""
        try:
            document = Parts.parse(self._store.read(item), item.media_type, str(item.digest))
        except RegistryError as error:
            self._note(IMAGE, item.digest, error.message)
            return
        for part in (*document.blobs, *document.manifests):
            self._users.setdefault(part.digest, []).extend(names)
            if not os.path.exists(self._store.path(part.digest)):
                self._note(IMAGE, item.digest, f"its part {part.digest} is missing")

    # Bytes

    def _names(self) -> tuple[Digest, ...]:
        folder = os.path.dirname(self._store.path(Digest.from_hex("0" * 64)))
        for name in sorted(os.listdir(folder)):
            if len(name) != 64 or not set(name) <= set("0123456789abcdef"):
                self._note(BLOB, name, "its name is no digest")
        return tuple(digest for digest in self._store.blobs())

    def _blob(self, digest: Digest) -> None:
        try:
            with open(self._store.path(digest), "rb", buffering=0) as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            self._note(BLOB, digest, f"cannot be read: {error.strerror}")
            return
        if found != digest.hex:
            self._note(BLOB, digest, f"its content has the digest sha256:{found}")

    def _layer(self, blob: Descriptor, diff_id: Digest) -> None:
        """One pass over a layer: its digest, its diffID, and all that was made from it."""
        names = self._trees.get(diff_id, ())
        trees = {name: Comparison(self._workspace.tree_path(name), is_exact=name == diff_id.hex) for name in dict.fromkeys(names)}
        entries: list[Entry] = []
        try:
            with opened(blob, self._store, diff_id) as items:
                for entry, read in items:
                    entries.append(entry)
                    _compare(entry, read, tuple(trees.values()))
        except (RegistryError, BuildError, OSError, EOFError, ValueError) as error:
            before = len(self._faults)
            self._blob(blob.digest)
            if len(self._faults) == before:
                said = f"is not the layer that it is recorded as: {getattr(error, 'message', error)}"
                self._note(BLOB, blob.digest, said)
            return
        for name, comparison in trees.items():
            if problem := comparison.problem():
                self._note(TREE, name, problem)
        self._file_index(diff_id, entries)

    def _file_index(self, diff_id: Digest, entries: list[Entry]) -> None:
        database = self._workspace.database
        with database.mutex, contextlib.suppress(sqlite3.DatabaseError):
            indexes = FileIndexes(database.connection)
            if not indexes.has(diff_id):
                return
            view = indexes.view(diff_id)
            for entry, is_opaque in RecipeView(entries).entries():
                try:
                    is_same = view.get(entry.path) == entry._replace(content=None) and view.is_opaque(entry.path) == is_opaque
                except LayerError:
                    is_same = False
                if not is_same:
                    self._note(FILE_INDEX, diff_id, f"/{entry.path} is not as in the layer")
                    return


def _compare(entry: Entry, read: Callable[[int], bytes], comparisons: tuple[Comparison, ...]) -> None:
    """Hand one entry to all comparisons; its content is read once, a block at a time."""
    for comparison in comparisons:
        comparison.begin(entry)
    if comparisons and entry.size:
        while content := read(_BLOCK):
            for comparison in comparisons:
                comparison.take(content)
    for comparison in comparisons:
        comparison.end()
