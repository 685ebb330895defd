"""Layers as directories that overlayfs takes as lower directories, and blobs as lists of entries.

Nothing is written outside the root, whatever an archive says: a path is walked one directory at a time, by descriptors,
and a link on the way is followed within the root or refused. A whiteout is a character device 0:0, an opaque directory
has overlay's xattr.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator

from pybuild.builder.errors import ContextError, ExportError, LayerError
from pybuild.builder.layers.compression import BLOCK, Source, decompressed
from pybuild.builder.layers.entry import BytesContent, DiskContent, Entry, Kind, SpoolContent
from pybuild.builder.layers.ownership import (
    give,
    is_whiteout,
    make_device,
    make_whiteout,
    mark_opaque,
    set_attribute,
)
from pybuild.builder.layers.untar import read as read_tar
from pybuild.registry import Descriptor, Digest, Store, media
from pybuild.registry.errors import DigestMismatch, UnsupportedMediaType

_MOST_OPEN = 64
_HOLE = 4096
_ZEROS = bytes(BLOCK)
_O_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_O_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Read = Callable[[int], bytes]
Lookup = Callable[[str], Entry | None]


class Hashed:
    """A stream that hashes what is read from it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes."""
        content = self._source.read(size)
        self._hash.update(content)
        return content

    def finish(self) -> str:
        """Read what follows the archive's end; the hex digest of everything."""
        while self.read(BLOCK):
            pass
        return self._hash.hexdigest()


@contextlib.contextmanager
def opened(blob: Descriptor, store: Store, diff_id: Digest) -> Iterator[Iterator[tuple[Entry, Read]]]:
    """The entries of a layer's blob with their contents; on leaving, digest, size and diffID have been verified.

    Raises BlobNotFound, DigestMismatch, LayerError, UnsupportedMediaType.
    """
    name = media.LAYERS.get(blob.media_type)
    if name is None:
        raise UnsupportedMediaType(blob.media_type, where=f"layer {blob.digest}")
    with store.open_blob(blob) as file:
        stream = Hashed(decompressed(file, name))
        yield ((entry, content.read) for entry, content in read_tar(stream))
        actual = Digest.from_hex(stream.finish())
        while file.read(BLOCK):
            pass
    if actual != diff_id:
        raise DigestMismatch(expected=diff_id, actual=actual, where=f"layer {blob.digest}, unpacked")


def index(blob: Descriptor, store: Store, diff_id: Digest) -> tuple[Entry, ...]:
    """What is in a layer's blob, verified; contents stay where they are."""
    with opened(blob, store, diff_id) as items:
        return tuple(entry for entry, _ in items)


def extract(blob: Descriptor, store: Store, diff_id: Digest, root: str, *, below: Lookup | None = None) -> None:
    """Write a layer's blob to the new directory `root`. Raises what `opened` does, and ExportError for a full disk.

    `below` finds a path in the layers below: overlayfs shows a directory as the topmost layer has it, so one that this layer
    only implies, by a path in it, is made as it is there.
    """
    with _Target(root, below) as target, opened(blob, store, diff_id) as items:
        for entry, content in items:
            target.put(entry, content)


def materialise(entries: Iterable[Entry], root: str) -> None:
    """Write entries to the directory `root`, made if it is missing. Raises ContextError and ExportError."""
    with _Target(root) as target:
        for entry in entries:
            with _content(entry) as content:
                target.put(entry, content)


@contextlib.contextmanager
def _content(entry: Entry) -> Iterator[Read]:
    match entry.content:
        case DiskContent(path):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError as error:
                raise ContextError(f"cannot read {path}: {error.strerror}") from error
            try:
                yield lambda size: os.read(descriptor, size)
            finally:
                os.close(descriptor)
        case BytesContent(content):
            rest = [content]

            def read_bytes(size: int) -> bytes:
                part, rest[0] = rest[0][:size], rest[0][size:]
                return part

            yield read_bytes
        case SpoolContent(descriptor, offset):
            position = [offset]

            def read_spool(size: int) -> bytes:
                part = os.pread(descriptor, size, position[0])
                position[0] += len(part)
                return part

            yield read_spool
        case _:
            yield lambda size: b""


class _Target:
    """A root that is being filled. A context manager: times of directories are set at the end."""

    def __init__(self, root: str, below: Lookup | None = None) -> None:
        self._root = root
        self._below = below
        self._is_root = os.geteuid() == 0
        self._open: dict[str, int] = {}
        self._directories: dict[str, Entry] = {}
        self._implied: set[str] = set()
        self._hiding: set[str] = set()

    def __enter__(self) -> _Target:
        is_new = not os.path.isdir(self._root)
        os.makedirs(self._root, exist_ok=True)
        if is_new:
            # Whatever the umask says: the user of an image has to get in.
            os.chmod(self._root, 0o755)
        self._open[""] = os.open(self._root, _O_DIRECTORY)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._inherit()
                for path in sorted(self._directories, reverse=True):
                    entry = self._directories[path]
                    self._trim(path)
                    self._dress(self._directory(path), ".", entry)
        finally:
            for descriptor in self._open.values():
                os.close(descriptor)

    def _inherit(self) -> None:
        """Make directories that are only implied as they are below, where they are seen there."""
        if self._below is None:
            return
        for path in self._implied - self._directories.keys():
            if any(path == hiding or path.startswith(f"{hiding}/") for hiding in self._hiding):
                continue
            entry = self._below(path)
            if entry is not None and entry.kind is Kind.DIRECTORY:
                self._directories[path] = entry

    def put(self, entry: Entry, content: Read) -> None:
        """Add an entry, in place of what is there."""
        try:
            self._put(entry, content)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise ExportError(f"cannot write to {self._root}: {error.strerror}", hint="free some space") from error
            raise LayerError(f"cannot write /{entry.path}: {error.strerror}") from error

    def _put(self, entry: Entry, content: Read) -> None:
        if entry.path == "":
            if entry.kind is Kind.DIRECTORY:
                self._directories[""] = entry
            elif entry.kind is Kind.OPAQUE:
                mark_opaque(self._open[""])
            return
        self._trim(entry.path)
        if entry.kind is Kind.OPAQUE:
            mark_opaque(self._directory(entry.path))
            self._hiding.add(entry.path)
            return
        parent, _, name = entry.path.rpartition("/")
        place = self._directory(parent)
        if entry.kind is Kind.WHITEOUT:
            self._hide(place, name)
            self._hiding.add(entry.path)
            return
        if entry.kind is Kind.DIRECTORY:
            self._make_directory(entry, place, name)
            return
        if entry.kind is Kind.FILE:
            self._write(entry, place, name, content)
            return
        self._clear(place, name, entry.path)
        match entry.kind:
            case Kind.SYMLINK:
                os.symlink(entry.link, name, dir_fd=place)
            case Kind.HARDLINK:
                self._link(entry, place, name)
                return
            case Kind.CHARACTER | Kind.BLOCK:
                form = stat.S_IFCHR if entry.kind is Kind.CHARACTER else stat.S_IFBLK
                if not make_device(name, form, entry.device, dir_fd=place):
                    return
            case Kind.FIFO:
                os.mkfifo(name, 0o600, dir_fd=place)
        self._dress(place, name, entry)

    def _hide(self, place: int, name: str) -> None:
        """Hide what the layers below have there. What this layer has itself stays, whichever of the two came first."""
        try:
            make_whiteout(name, dir_fd=place)
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):
                descriptor = os.open(name, _O_DIRECTORY, dir_fd=place)
                try:
                    mark_opaque(descriptor)
                finally:
                    os.close(descriptor)

    def _write(self, entry: Entry, place: int, name: str, content: Read) -> None:
        try:
            descriptor = os.open(name, _O_CREATE, 0o600, dir_fd=place)
        except FileExistsError:
            self._clear(place, name, entry.path)
            descriptor = os.open(name, _O_CREATE, 0o600, dir_fd=place)
        try:
            left = entry.size
            ends_in_hole = False
            while left:
                part = content(min(left, BLOCK))
                if not part:
                    raise ContextError(f"/{entry.path} became smaller while it was copied")
                ends_in_hole = is_hole(part)
                if ends_in_hole:
                    os.lseek(descriptor, len(part), os.SEEK_CUR)
                else:
                    write_all(descriptor, part)
                left -= len(part)
            if ends_in_hole:
                os.ftruncate(descriptor, entry.size)
            if self._is_root and (entry.uid or entry.gid):
                give(entry, descriptor)
            os.fchmod(descriptor, entry.mode)
            for key, value in entry.xattrs:
                set_attribute(descriptor, key, value)
            os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(descriptor)

    def _make_directory(self, entry: Entry, place: int, name: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=place)
        except FileExistsError:
            status = os.stat(name, dir_fd=place, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                was_hidden = is_whiteout(name, status, dir_fd=place)
                os.unlink(name, dir_fd=place)
                os.mkdir(name, 0o700, dir_fd=place)
                if was_hidden:
                    self._hide(place, name)
        self._directories[entry.path] = entry

    def _link(self, entry: Entry, place: int, name: str) -> None:
        parent, _, first = entry.link.rpartition("/")
        try:
            os.link(first, name, src_dir_fd=self._directory(parent), dst_dir_fd=place, follow_symlinks=False)
        except FileNotFoundError:
            raise LayerError(f"/{entry.path}: a hard link to /{entry.link}, which the layer does not have") from None

    def _clear(self, place: int, name: str, path: str) -> None:
        try:
            mode = os.stat(name, dir_fd=place, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(mode):
            os.unlink(name, dir_fd=place)
            return
        from pybuild.builder.removing import remove_directory

        # Links may have led to it under other names: what is open below it goes, and all else that could be.
        self._close_all(but=place)
        for known in [known for known in self._directories if known == path or known.startswith(f"{path}/")]:
            del self._directories[known]
        self._implied = {known for known in self._implied if known != path and not known.startswith(f"{path}/")}
        remove_directory(name, dir_fd=place)

    def _trim(self, path: str) -> None:
        """Close directories when too many are open. Not while one of them is in use."""
        if len(self._open) > _MOST_OPEN:
            for known in [known for known in self._open if known and not path.startswith(f"{known}/")]:
                os.close(self._open.pop(known))

    def _close_all(self, *, but: int) -> None:
        for known in [known for known, descriptor in self._open.items() if known and descriptor != but]:
            os.close(self._open.pop(known))

    def _directory(self, path: str) -> int:
        """A descriptor of a directory, made with all above it where missing; links are followed within the root."""
        missing = []
        known = path
        while known not in self._open:
            known, _, name = known.rpartition("/")
            missing.append(name)
        descriptor = self._open[known]
        for name in reversed(missing):
            known = f"{known}/{name}" if known else name
            try:
                descriptor = self._enter(descriptor, name, known)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                return self._followed(known, path[len(known) :])
            self._open[known] = descriptor
        return descriptor

    def _enter(self, above: int, name: str, path: str) -> int:
        """Open a directory, made when there is none, opaque when it was hidden. Raises OSError for a link or a file."""
        try:
            return os.open(name, _O_DIRECTORY, dir_fd=above)
        except FileNotFoundError:
            os.mkdir(name, dir_fd=above)
            descriptor = os.open(name, _O_DIRECTORY, dir_fd=above)
        except NotADirectoryError:
            if not is_whiteout(name, os.stat(name, dir_fd=above, follow_symlinks=False), dir_fd=above):
                raise
            os.unlink(name, dir_fd=above)
            os.mkdir(name, dir_fd=above)
            descriptor = os.open(name, _O_DIRECTORY, dir_fd=above)
            self._hide(above, name)
        os.fchmod(descriptor, 0o755)
        self._implied.add(path)
        return descriptor

    def _followed(self, path: str, rest: str) -> int:
        """The directory `rest` of the one that the link `path` leads to, never outside of the root."""
        from pybuild.builder.layers.index import TreeView, follow

        real = follow(TreeView(self._root).get, path)
        if real == path:
            raise LayerError(f"/{path} is no directory, and the layer has files in it")
        return self._directory((real + rest).lstrip("/"))

    def _dress(self, place: int, name: str, entry: Entry) -> None:
        if self._is_root:
            give(entry, name, dir_fd=place, follow_symlinks=False)
        if entry.kind is not Kind.SYMLINK:
            os.chmod(name, entry.mode, dir_fd=place)
        if entry.xattrs:
            target = f"/proc/self/fd/{place}/{name}"
            for key, value in entry.xattrs:
                set_attribute(target, key, value)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=place, follow_symlinks=False)


def is_hole(content: bytes) -> bool:
    """Whether it is worth a hole in the file: nothing but zeros, and not few of them."""
    return len(content) >= _HOLE and not content[0] and content == _ZEROS[: len(content)]


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of it: write(2) may stop short on a disk that fills up, and the next call says why."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
