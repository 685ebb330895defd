"""The build context: a folder of the user's, seen through its ignore file, as a tree to copy from. Read only.

Two ways to know what a COPY would read: `fingerprint`, from metadata alone, and `digest`, from the contents, which costs
reading what the records do not know yet. The first leads to the second when nothing was touched.
"""

from __future__ import annotations

import os
import stat
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

from pybuild.builder.contexts.ignore import Ignore
from pybuild.builder.errors import ContextError
from pybuild.builder.graph import CopyStep, RunStep
from pybuild.builder.layers.entry import BytesContent, DiskContent, Entry, Kind
from pybuild.builder.layers.index import entry_on_disk
from pybuild.builder.layers.selection import Choice, chosen, listing
from pybuild.builder.records.database import Database, FileStamp
from pybuild.hints import TYPE_CHECKING
from pybuild.lean import blake2b, sha256

if TYPE_CHECKING:
    from pybuild.builder.request import BuildRequest
    from pybuild.builder.workspace import Workspace

# A file that changed this shortly before it was looked at may change again within the clock's grain.
_GRAIN_NS = 2_000_000_000
_BLOCK = 1 << 20
_WHICH = "the last argument is the build context, often '.'"
_LARGE_BLOCK = 4 << 20
_IMAGES = ("oci-layout://", "docker-image://")


class Context:
    """A folder as the tree that COPY sees."""

    def __init__(self, root: str, ignore: Ignore, *, called: str = "the context") -> None:
        self.root = os.path.realpath(root)
        self.ignore = ignore
        self.called = called
        self._entries: dict[str, Entry | None] = {}
        self._children: dict[str, tuple[Entry, ...]] = {}
        self._identities: dict[str, tuple[int, int]] = {}
        self._stamps: dict[str, FileStamp] = {}
        # Of ignored directories, whether something in them is not.
        self._leads_on: dict[str, bool] = {}

    @classmethod
    def open(cls, root: str, ignore_names: Sequence[str] = (".dockerignore",), *, called: str = "the context") -> Context:
        """The context in a folder, with the first of the ignore files that is there. Raises ContextError."""
        check_folder(root)
        for name in ignore_names:
            path = os.path.join(root, name)
            try:
                with open(path, encoding="utf-8", errors="surrogateescape") as file:
                    return cls(root, Ignore.parse(file.read(), os.path.basename(path)), called=called)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise ContextError(f"cannot read {path}: {error.strerror}") from error
        return cls(root, Ignore(), called=called)

    # Tree

    def lookup(self, path: str) -> Entry | None:
        """What is at this path, None when it is missing or ignored."""
        if path in self._entries:
            return self._entries[path]
        place = f"{self.root}/{path}" if path else self.root
        try:
            status = os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ContextError(f"cannot read {place}: {error.strerror}") from error
        if path and not self._is_visible(path, stat.S_ISDIR(status.st_mode)):
            return None
        return self._keep(place, path, status)

    def children(self, path: str) -> Sequence[Entry]:
        """What is directly in a directory and not ignored, sorted by name."""
        if path not in self._children:
            prefix = f"{path}/" if path else ""
            found = []
            for item in self._scan(path):
                name = prefix + item.name
                if self._is_visible(name, item.is_dir(follow_symlinks=False)):
                    found.append(self._keep(item.path, name, item.stat(follow_symlinks=False)))
            self._children[path] = tuple(found)
        return self._children[path]

    def identity(self, entry: Entry) -> object:
        """The device and inode of a file with several names."""
        return self._identities.get(entry.path)

    def hidden_by(self, path: str) -> str | None:
        """The line of the ignore file that hides a path which is there."""
        if not os.path.lexists(f"{self.root}/{path}"):
            return None
        culprit = self.ignore.culprit(path)
        return f"{self.ignore.name}:{culprit.line} ({culprit.text})" if culprit else None

    def _keep(self, place: str, path: str, status: os.stat_result) -> Entry:
        entry = entry_on_disk(place, path, status)
        if entry is not None and entry.kind is Kind.WHITEOUT:
            entry = Entry(path, Kind.CHARACTER, stat.S_IMODE(status.st_mode), mtime_ns=status.st_mtime_ns)
        elif entry is None:
            # A socket comes as an empty file, as in BuildKit.
            common = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, 0, status.st_mtime_ns)
            entry = Entry(path, Kind.FILE, *common, content=BytesContent(b""))
        self._entries[path] = entry
        if entry.kind is Kind.FILE:
            self._stamps[path] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            if status.st_nlink > 1:
                self._identities[path] = (status.st_dev, status.st_ino)
        return entry

    def _scan(self, path: str) -> list[os.DirEntry[str]]:
        place = f"{self.root}/{path}" if path else self.root
        try:
            with os.scandir(place) as items:
                return sorted(items, key=_name)
        except OSError as error:
            raise ContextError(
                f"cannot read {place}: {error.strerror}", hint="if the build does not need it, put it into .dockerignore"
            ) from error

    def _is_visible(self, path: str, is_directory: bool) -> bool:
        if not self.ignore.patterns or not self.ignore.hides(path):
            return True
        # Something in an ignored directory may be wanted all the same.
        return is_directory and self.ignore.has_exceptions and self._has_visible(path)

    def _has_visible(self, path: str) -> bool:
        """Whether there is something in an ignored directory that is not ignored; none on the way to it is asked again."""
        looked_at: list[str] = []
        pending = [path]
        while pending:
            directory = pending.pop()
            found = self._leads_on.get(directory)
            if found is None:
                found = self._look_for_visible(directory, pending)
                looked_at.append(directory)
            if found:
                while directory != path:
                    self._leads_on[directory] = True
                    directory = directory.rpartition("/")[0]
                self._leads_on[path] = True
                return True
        self._leads_on.update(dict.fromkeys(looked_at, False))
        return False

    def _look_for_visible(self, directory: str, pending: list[str]) -> bool:
        for item in self._scan(directory):
            name = f"{directory}/{item.name}"
            if not self.ignore.hides(name):
                return True
            if item.is_dir(follow_symlinks=False):
                pending.append(name)
        return False

    # What is in it

    def fingerprint(self, choice: Choice) -> str | None:
        """A hash of the metadata of all that `choice` means, and more; None when a file is too young to be known by it.

        Raises CopyError for a source that is not there.
        """
        young = time.time_ns() - _GRAIN_NS
        mark = blake2b(digest_size=20)
        ignored = tuple((pattern.text, pattern.is_exception) for pattern in self.ignore.patterns)
        mark.update(repr((self.root, choice, ignored)).encode(errors="surrogateescape"))
        for item in chosen(self, choice, self.hidden_by, where=self.called):
            places = [item.place]
            if item.included is not None:
                # What is beside the directories before the pattern does not count, and would cost a look at everything.
                for part in item.included.leading.split("/") if item.included.leading else ():
                    places.append(f"{places[-1]}/{part}" if places[-1] else part)
                places = [place for place in places if os.path.lexists(f"{self.root}/{place}")]
            for place in places:
                status = os.lstat(f"{self.root}/{place}")
                newest = max(status.st_ctime_ns, status.st_mtime_ns)
                mark.update(repr((item.match, place, _stamp(status))).encode(errors="surrogateescape"))
                if place == places[-1] and stat.S_ISDIR(status.st_mode):
                    newest = max(newest, self._mark(place, mark.update))
                if newest > young:
                    return None
        return mark.hexdigest()

    def _mark(self, top: str, update: Callable[[bytes], object]) -> int:
        newest = 0
        filtered = bool(self.ignore.patterns)
        pending = [top]
        while pending:
            directory = pending.pop()
            prefix = f"{directory}/" if directory else ""
            lines = [directory]
            for item in self._scan(directory):
                status = item.stat(follow_symlinks=False)
                mode = status.st_mode
                is_directory = stat.S_ISDIR(mode)
                if filtered and not self._is_visible(prefix + item.name, is_directory):
                    continue
                changed = status.st_ctime_ns
                if changed > newest:
                    newest = changed
                lines.append(f"{item.name}\0{mode}\0{status.st_size}\0{status.st_mtime_ns}\0{changed}\0{status.st_ino}")
                if is_directory:
                    pending.append(prefix + item.name)
            update("\n".join(lines).encode(errors="surrogateescape"))
        return newest

    def digest(self, choice: Choice, database: Database) -> str:
        """A hash of all that a copy of `choice` puts into a layer, times left out. Raises CopyError, ContextError."""
        fingerprint = self.fingerprint(choice)
        if fingerprint and (known := database.memo("listing", fingerprint)):
            return known.decode()
        found = list(listing(self, choice, self.hidden_by, where=self.called))
        contents = self._contents([entry for _, entry in found if isinstance(entry.content, DiskContent)], database)
        mark = sha256()
        first: dict[object, str] = {}
        others: dict[str, str] = {}
        for name, entry in found:
            identity = self.identity(entry)
            # A file's names outside of what is copied count for nothing.
            if identity and (shared := first.setdefault(identity, name)) != name:
                others[name] = shared
            mark.update(listed(name, entry, contents.get(entry.path, b""), others.get(name, "")))
        digest = mark.hexdigest()
        if not database.has_listing(digest):
            told = ((name, in_short(entry, contents.get(entry.path, b""), others.get(name, ""))) for name, entry in found)
            database.add_listing(digest, packed_listing(told))
        if fingerprint:
            database.add_memo("listing", fingerprint, digest.encode())
        return digest

    def _contents(self, files: Sequence[Entry], database: Database) -> dict[str, bytes]:
        """The digest of each file, from the records where its stamp is known."""
        known: dict[str, dict[str, tuple[FileStamp, bytes]]] = {}
        fresh = []
        found: dict[str, bytes] = {}
        young = time.time_ns() - _GRAIN_NS
        hasher = Hasher()
        for entry in files:
            parent, _, name = f"{self.root}/{entry.path}".rpartition("/")
            # SQLite keeps text as UTF-8, which has no surrogates.
            parent, name = _text(parent), _text(name)
            if parent not in known:
                known[parent] = database.file_digests(parent)
            stamp = self._stamps[entry.path]
            record = known[parent].get(name)
            if record is not None and record[0] == stamp:
                found[entry.path] = record[1]
                continue
            assert isinstance(entry.content, DiskContent)
            digest = found[entry.path] = hasher.digest(entry.content.path)
            if max(stamp[1], stamp[2]) < young:
                fresh.append((parent, name, stamp, digest))
        if fresh:
            database.add_file_digests(fresh)
        return found

    def has_changed(self, entries: Iterable[Entry]) -> bool:
        """Whether a file that was looked at is another one now."""
        for path in {entry.content.path for entry in entries if isinstance(entry.content, DiskContent)}:
            relative = path[len(self.root) + 1 :] if path.startswith(f"{self.root}/") else None
            stamp = self._stamps.get(relative) if relative is not None else None
            try:
                if stamp is not None and _stamp(os.lstat(path))[1:] != stamp:
                    return True
            except OSError:
                return True
        return False


def choice_of(step: CopyStep | RunStep, origin: int | str) -> Choice:
    """What a COPY, or the binds of a RUN, read out of one of their origins."""
    if isinstance(step, RunStep):
        # A bind's source is no pattern.
        return Choice(tuple(_literal(path) for path in step.paths(origin)))
    return Choice(step.paths(origin), step.parents, step.excludes)


def _literal(path: str) -> str:
    return "".join(f"\\{letter}" if letter in "*?[\\" else letter for letter in path)


def in_short(entry: Entry, content: bytes, shared: str) -> str:
    """What of one file counts, as the history keeps it: kind, mode, size, and a part of its digest, where it leads or its device.

    Behind that, if there is either, after a `\\1` each, the name whose file it shares, and its attributes as JSON.
    """
    is_device = entry.kind in (Kind.CHARACTER, Kind.BLOCK)
    what = "{}:{}".format(*entry.device) if is_device else entry.link or content[:8].hex()
    text = f"{entry.kind.name} {entry.mode:o} {entry.size} {what}"
    if not shared and not entry.xattrs:
        return text
    import json

    return "\1".join((text, shared, json.dumps({name: value.hex() for name, value in entry.xattrs})))


def packed_listing(files: Iterable[tuple[str, str]]) -> bytes:
    """A list of files with what counts of each, as the history keeps it. `History.listing` reads it."""
    return zlib.compress("".join(f"{name}\0{what}\0" for name, what in files).encode("utf-8", "surrogateescape"), 1)


def listed(name: str, entry: Entry, content: bytes, shared: str) -> bytes:
    """What of one file counts for a cache key: all but its times."""
    values = (name, int(entry.kind), entry.mode, entry.size, entry.link, entry.device, entry.xattrs, content, shared)
    return repr(values).encode(errors="surrogateescape")


def is_local(place: str) -> bool:
    """Whether a context is a folder, or can be nothing else: no standard input, URL or repository."""
    if place == "-":
        return False
    is_elsewhere = "://" in place or place.startswith("github.com/") or ("@" in place and ":" in place)
    return not is_elsewhere or os.path.isdir(place)


def is_at_hand(request: BuildRequest) -> bool:
    """Whether all contexts are folders, and the Dockerfile a file, or are meant to be."""
    places = (request.context, *(place for _, place in request.contexts if not place.startswith(_IMAGES)))
    return all(map(is_local, places)) and (request.dockerfile is None or is_local(request.dockerfile))


def localised(request: BuildRequest, workspace: Workspace) -> AbstractContextManager[BuildRequest]:
    """The request with folders for contexts, there until the context is left. Raises ContextError, RemoteError, LayerError."""
    if is_at_hand(request):
        return nullcontext(request)
    from pybuild.builder.remote.localising import localised as made_local

    return made_local(request, workspace)


def check_folder(root: str, *, hint: str = _WHICH) -> None:
    """Raise ContextError when this is no folder."""
    try:
        is_folder = stat.S_ISDIR(os.stat(root).st_mode)
    except FileNotFoundError:
        raise ContextError(f"no such folder: {root}", hint=hint) from None
    except OSError as error:
        raise ContextError(f"cannot read {root}: {error.strerror}") from error
    if not is_folder:
        raise ContextError(f"not a folder: {root}", hint=hint)


class Hasher:
    """BLAKE3 digests of files' contents. One buffer serves all of them: to make one for each costs more than reading."""

    def __init__(self) -> None:
        from blake3 import blake3

        self._blake3 = blake3
        self._buffer = bytearray(_BLOCK)
        self._view = memoryview(self._buffer)

    def digest(self, path: str) -> bytes:
        """The digest of one file's content. Raises ContextError."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                size = os.readv(descriptor, (self._buffer,))
                if size < _BLOCK and not os.readv(descriptor, (self._view[size:],)):
                    return self._blake3(self._view[:size]).digest()
                os.lseek(descriptor, 0, os.SEEK_SET)
                return self._large(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise ContextError(
                f"cannot read {path}: {error.strerror}", hint="if the build does not need it, put it into .dockerignore"
            ) from error

    def _large(self, descriptor: int) -> bytes:
        """By large blocks in several threads. update_mmap is a tenth faster, but its pages count as ours, and Ctrl-C waits."""
        mark = self._blake3(max_threads=self._blake3.AUTO)
        block = memoryview(bytearray(_LARGE_BLOCK))
        while size := os.readv(descriptor, (block,)):
            mark.update(block[:size])
        return mark.digest()


def _stamp(status: os.stat_result) -> tuple[int, int, int, int, int]:
    return (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _name(item: os.DirEntry[str]) -> str:
    return item.name


def _text(name: str) -> str:
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")
