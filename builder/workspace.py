"""The folder that pybuild works in: the content store, the records of earlier builds, and layers as directories.

Where layers lie as directories is decided here: `trees/<name>`, where the name is a diffID's hex digits for a layer out
of an image, and comes from the key of its step for one that a RUN made.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType

from pybuild.builder.records.database import Database, StepRecord
from pybuild.builder.upkeep import written
from pybuild.lean import sqlite3
from pybuild.registry import Descriptor, Digest, Image, Store
from pybuild.registry.errors import BlobNotFound, StoreError
from pybuild.values import frozen

# The folder of cache mounts, one folder each; theirs to keep until `prune --all`.
CACHES = "caches"


# In the scratch folder of a step: the control groups that were made for it.
GROUPS = "control-groups"
_RECORDS = "pybuild.db"


@frozen
class Layer:
    """A layer at rest: its blob, and the digest of its tar."""

    descriptor: Descriptor
    diff_id: Digest


def place_of(root: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> str:
    """Where the store is: the folder that is given, $PYBUILD_ROOT, /var/lib/pybuild for root, else in the user's data home."""
    if given := (environ.get("PYBUILD_ROOT") if root is None else root):
        # A folder that is named in full is found from anywhere, also from where there is no folder any more.
        place = os.fspath(given)
        if not os.path.isabs(place):
            place = os.path.join(os.getcwd(), place)
        # Behind a link `..` is elsewhere than it reads.
        return place if ".." in place.split("/") else os.path.normpath(place)
    if os.geteuid() == 0:
        return "/var/lib/pybuild"
    home = environ.get("XDG_DATA_HOME") or os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".local", "share")
    return os.path.join(home, "pybuild")


def layers_of(image: Image) -> tuple[Layer, ...]:
    """The layers of an image, lowest first."""
    return tuple(
        Layer(descriptor, diff_id) for descriptor, diff_id in zip(image.manifest.layers, image.config.diff_ids, strict=True)
    )


class Workspace:
    """One store with its records. A context manager; safe to share between threads."""

    def __init__(self, store: Store, database: Database) -> None:
        self.store = store
        self.database = database
        self._abandoned: list[str] = []
        self._used: set[str] = set()

    @classmethod
    def open(cls, root: str | os.PathLike[str]) -> Workspace:
        """The workspace in this folder, made when there is none. Raises StoreError."""
        store = Store.open(root)
        records = f"{store.root}/{_RECORDS}"
        try:
            # Of several processes that open a new store at once, SQLite lets one set the journal's mode and refuses the others.
            with store.lock("database", exclusive=True):
                if not os.path.exists(records):
                    from pybuild.builder.upkeep import reserve

                    reserve.keep(store.root)
                return cls(store, Database(records))
        except sqlite3.OperationalError as error:
            from pybuild.builder.upkeep import reserve

            if reserve.is_full(store.root):
                raise StoreError(f"{records}: No space left on device", hint=reserve.ADVICE) from error
            raise StoreError(f"{records}: {error}", hint="is the folder yours?") from error

    def close(self) -> None:
        """Close the records."""
        self.database.close()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Hold no connection meanwhile: SQLite's cannot be carried over a fork."""
        self.database.close()
        try:
            yield
        finally:
            self.database = Database(f"{self.store.root}/{_RECORDS}")

    @contextlib.contextmanager
    def scratch(self) -> Iterator[str]:
        """A new folder inside the store, for an overlay's upper and work directories; gone afterwards."""
        path = self.new_scratch()
        try:
            yield path
        finally:
            remove(path)

    def new_scratch(self) -> str:
        """The same, for who removes it himself."""
        return new_folder(f"{self.store.root}/tmp", "run-")

    def tree_path(self, name: str) -> str:
        """Where the directory form of a layer lies, or would."""
        return f"{self.store.root}/trees/{name}"

    def new_tree(self, key: str) -> str:
        """A name for the tree of a step; another one when a tree of this step is there already, perhaps in use."""
        return key if not os.path.exists(self.tree_path(key)) else f"{key[:48]}-{os.urandom(8).hex()}"

    def replace_step(self, record: StepRecord) -> None:
        """Remember a result; a tree of an earlier one is no longer anybody's, and goes as soon as no build reads it."""
        earlier = self.database.step(record.key)
        self.database.add_step(record)
        if earlier is not None and earlier.tree is not None and earlier.tree != record.tree:
            self._abandoned.append(earlier.tree)

    def clean(self) -> None:
        """Remove abandoned trees, and what a killed process left half-made, unless somebody is at work in the store.

        The caller does not hold the build lock.
        """
        folder = f"{self.store.root}/tmp"
        were_lost = not written.may_be_trusted(self.store.root)
        if not self._abandoned and not were_lost and not os.listdir(folder):
            return
        with self.store.lock("build", exclusive=True, blocking=False) as is_alone:
            if is_alone:
                if were_lost:
                    self._remove_all_trees()
                for tree in self._abandoned:
                    self.discard(self.tree_path(tree))
                for name in os.listdir(folder):
                    remove(f"{folder}/{name}")
                self._abandoned.clear()

    def discard(self, path: str) -> None:
        """Remove something of the store, at once for all who look: half of a tree must not be taken for one."""
        doomed = f"{self.store.root}/tmp/doomed-{os.urandom(8).hex()}"
        try:
            os.rename(path, doomed)
        except FileNotFoundError:
            return
        remove(doomed)

    def _remove_all_trees(self) -> None:
        """Start anew with trees, which are made of blobs, or by their step; nothing checks them as a blob is checked."""
        folder = f"{self.store.root}/trees"
        for name in os.listdir(folder):
            self.discard(f"{folder}/{name}")
        written.forget(self.store.root)

    def used_trees(self) -> frozenset[str]:
        """The names of the trees that were read since it was opened."""
        return frozenset(self._used)

    def is_due(self, name: str, seconds: float, now: float) -> bool:
        """Whether this was not done for so long; it is then taken as done."""
        path = f"{self.store.root}/locks/done-{name}"
        try:
            if abs(now - os.stat(path).st_mtime) < seconds:
                return False
        except FileNotFoundError:
            # A new store has nothing to be done about.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
            return False
        os.utime(path, (now, now))
        return True

    def existing_tree(self, diff_id: Digest) -> str | None:
        """The directory of a layer, if there is one: extracted, or left by the step that made the layer."""
        for name in (diff_id.hex, *self.database.trees_of(diff_id)):
            if os.path.isdir(path := self.tree_path(name)):
                self._used.add(name)
                return path
        return None

    def tree(self, layer: Layer, below: Sequence[str]) -> str:
        """The directory of a layer, extracted when there is none, over those `below`. Raises BlobNotFound, DigestMismatch."""
        if path := self.existing_tree(layer.diff_id):
            return path
        from pybuild.builder.layers.extraction import extract
        from pybuild.builder.layers.index import MergedView, TreeView

        path = self.tree_path(layer.diff_id.hex)
        lookup = MergedView([TreeView(tree) for tree in below]).lookup
        with self.scratch() as scratch:
            extract(self.blob(layer), self.store, layer.diff_id, f"{scratch}/tree", below=lookup)
            adopt_tree(f"{scratch}/tree", path)
        return path

    def blob(self, layer: Layer) -> Descriptor:
        """A blob of this layer that is in the store. Raises BlobNotFound."""
        for candidate in (layer.descriptor, *self.database.blobs(layer.diff_id)):
            if self.store.has(candidate):
                return candidate
        raise BlobNotFound(f"layer {layer.descriptor.digest} is not in the store", hint="build or pull the image again")


def new_folder(parent: str, prefix: str) -> str:
    """A new folder that nobody else may enter."""
    path = f"{parent}/{prefix}{os.urandom(8).hex()}"
    os.mkdir(path, 0o700)
    return path


def adopt_tree(path: str, place: str) -> None:
    """Move a finished tree to its place; one that is there already is as good, and stays."""
    written.tell(os.path.dirname(os.path.dirname(place)))
    try:
        os.rename(path, place)
    except OSError:
        if not os.path.isdir(place):
            raise


def remove(path: str) -> None:
    """Remove a file, or a folder and all in it, whatever the permission bits of what is inside.

    What a killed pybuild has left there in writing to be removed elsewhere goes first.
    """
    if os.path.exists(f"{path}/{GROUPS}"):
        from pybuild.builder.sandbox.cgroups import forget

        forget(f"{path}/{GROUPS}")
    if not os.path.isdir(path) or os.path.islink(path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    import shutil

    def unlock(function: object, name: str, _: object) -> None:
        # Overlay's work directory has no permission bits, which hinders ordinary users.
        with contextlib.suppress(OSError):
            os.chmod(os.path.dirname(name), 0o700)
            os.chmod(name, 0o700)
            shutil.rmtree(name, ignore_errors=True) if os.path.isdir(name) else os.unlink(name)

    try:
        shutil.rmtree(path, onerror=unlock)
    except RecursionError:
        from pybuild.builder.removing import flatten

        flatten(path)
        shutil.rmtree(path, onerror=unlock)
    if os.path.lexists(path) and os.geteuid() != 0:
        # Files of the ids that a user namespace of ours had.
        from pybuild.builder.sandbox.inside import inside

        inside(lambda _: remove(path))
