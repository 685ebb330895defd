"""What stands in for mounts where there are none: put into a copy of an image before a command, and taken out after.

The usual devices as far as they may be made, resolv.conf, hosts and hostname; and what --mount asks for: copies of what is bound,
folders of caches by a rename, secrets as files, an agent's socket by one more name. There is no /proc and no /sys. What is taken
out may by then be anything, with links in the way: see `beneath`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator

from pybuild.builder.errors import CopyError, SandboxError
from pybuild.builder.layers.entry import Kind
from pybuild.builder.layers.index import MergedView, TreeView, follow, walk
from pybuild.builder.removing import remove_directory
from pybuild.builder.sandbox.beneath import parent_of
from pybuild.builder.sandbox.folders import Furniture
from pybuild.builder.sandbox.spec import DEVICES, Attachment, Folder, Memory, Overlay, Secret
from pybuild.values import frozen

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HINT = "--mount as it is meant needs namespaces; 'pybuild doctor' says what stands in their way"


@frozen
class _Placed:
    """Something at `path` of the root that goes again: to its `home`, or for good. `saved` is what the image has there."""

    path: str
    saved: str | None = None
    home: str | None = None


class Stand:
    """The furniture of one command in the folder `root`; `folder` is where the image's own files wait meanwhile."""

    def __init__(self, furniture: Furniture, attachments: tuple[Attachment, ...], root: str, folder: str) -> None:
        self._furniture = furniture
        self._attachments = attachments
        self._root = root
        self._folder = folder
        self._placed: list[_Placed] = []
        self._count = 0

    def put_up(self) -> None:
        """Put everything in. Raises SandboxError for a mount that nothing can stand in for."""
        for path, is_directory in self._furniture.missing:
            with self._unchanged(path) as (parent, name):
                if is_directory:
                    os.mkdir(name, 0o755, dir_fd=parent)
                else:
                    os.close(os.open(name, _NEW_FILE, 0o644, dir_fd=parent))
        self._add_devices()
        for mount in self._furniture.mounts:
            if mount.kind == "bind" and os.path.isfile(mount.source):
                shutil.copy(mount.source, provided := self._new_name())
                self._place(mount.target, provided)
        for attachment in self._attachments:
            try:
                self._attach(attachment)
            except (OSError, CopyError) as error:
                reason = error.message if isinstance(error, CopyError) else error.strerror
                raise SandboxError(f"{attachment.target} cannot be put in the place of a mount: {reason}", hint=_HINT) from error

    def take_down(self) -> None:
        """Take it out again, as far as it is still there. Idempotent."""
        while self._placed:
            placed = self._placed.pop()
            with contextlib.suppress(OSError), self._unchanged(placed.path) as (parent, name):
                if placed.home is not None:
                    self._bring_home(placed.home, name, parent)
                with contextlib.suppress(FileNotFoundError):
                    _remove(name, parent)
                if placed.saved is not None:
                    os.rename(placed.saved, name, dst_dir_fd=parent)

    def _attach(self, attachment: Attachment) -> None:
        path = follow(TreeView(self._root).get, attachment.target)
        if not path:
            raise SandboxError("a mount over the whole file system", hint=_HINT)
        parts = path.split("/")
        for end in range(1, len(parts)):
            above = "/".join(parts[:end])
            with contextlib.suppress(FileExistsError), self._unchanged(above) as (parent, name):
                os.mkdir(name, 0o755, dir_fd=parent)
                self._placed.append(_Placed(above))
        match attachment.origin:
            case Secret() as secret:
                self._place(path, self._written(secret))
            case Memory():
                os.mkdir(room := self._new_name(), 0o755)
                # Whoever runs the command may write there, as in a new tmpfs.
                os.chmod(room, 0o1777)
                self._place(path, room)
            case Overlay() as overlay:
                self._place(path, self._copied(overlay, attachment.source))
            case Folder() as folder:
                self._lend(path, folder, attachment.source)

    def _place(self, path: str, thing: str, *, home: str | None = None) -> None:
        """Move something to a path of the root; what the image has there waits."""
        saved: str | None = self._new_name()
        assert saved is not None
        with self._unchanged(path) as (parent, name):
            try:
                os.rename(name, saved, src_dir_fd=parent)
            except FileNotFoundError:
                saved = None
            self._placed.append(_Placed(path, saved))
            os.rename(thing, name, dst_dir_fd=parent)
            self._placed[-1] = _Placed(path, saved, home)

    def _written(self, secret: Secret) -> str:
        place = self._new_name()
        descriptor = os.open(place, _NEW_FILE, 0o600)
        with open(descriptor, "wb") as file:
            file.write(secret.content)
            os.fchown(descriptor, secret.uid, secret.gid)
            os.fchmod(descriptor, secret.mode & 0o777)
        return place

    def _copied(self, overlay: Overlay, source: str) -> str:
        """A copy of what a mount would show: what is written there is nowhere else."""
        from pybuild.builder.layers.extraction import materialise

        tree = MergedView([TreeView(path) for path in overlay.lower])
        place = follow(tree.lookup, source)
        top = tree.lookup(place)
        if top is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)
        folder = self._new_name()
        if top.kind is Kind.DIRECTORY:
            cut = len(place) + 1 if place else 0
            materialise((entry._replace(path=entry.path[cut:]) for entry in (top, *walk(tree, place))), folder)
            return folder
        materialise((top._replace(path="it"),), folder)
        return f"{folder}/it"

    def _lend(self, path: str, folder: Folder, source: str) -> None:
        """What cannot be copied: a cache, which comes back by a rename, and an agent's socket, which gets one more name."""
        thing = f"{folder.path}/{follow(TreeView(folder.path).get, source)}".rstrip("/")
        if stat.S_ISSOCK(os.lstat(thing).st_mode):
            os.link(thing, socket := self._new_name(), follow_symlinks=False)
            self._place(path, socket)
        else:
            self._place(path, thing, home=thing)

    def _bring_home(self, home: str, name: str, parent: int) -> None:
        """Move a cache back, if it still is what it was: what a command has put in its place is not followed later."""
        kind = stat.S_IFMT(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
        if kind in (stat.S_IFDIR, stat.S_IFREG):
            os.rename(name, home, src_dir_fd=parent)

    def _add_devices(self) -> None:
        with parent_of(self._root, "dev/null") as (dev, _):
            there = set(os.listdir(dev))
        for name, (major, minor) in DEVICES.items():
            if name not in there:
                with self._unchanged(f"dev/{name}") as (parent, last):
                    try:
                        os.mknod(last, stat.S_IFCHR | 0o666, os.makedev(major, minor), dir_fd=parent)
                    except PermissionError:
                        if name != "null":
                            continue
                        # What is thrown away has to go somewhere.
                        os.mknod(last, stat.S_IFREG | 0o666, dir_fd=parent)
                    os.chmod(last, 0o666, dir_fd=parent)
                self._placed.append(_Placed(f"dev/{name}"))
        if "shm" not in there:
            with self._unchanged("dev/shm") as (parent, last):
                os.mkdir(last, dir_fd=parent)
                os.chmod(last, 0o1777, dir_fd=parent)
            self._placed.append(_Placed("dev/shm"))

    def _new_name(self) -> str:
        self._count += 1
        return f"{self._folder}/stand-{self._count}"

    @contextlib.contextmanager
    def _unchanged(self, path: str) -> Iterator[tuple[int, str]]:
        """The parent of a path, whose time stays: what stands in for a mount is not the command's doing."""
        with parent_of(self._root, path) as (parent, name):
            before = os.stat(parent)
            yield parent, name
            os.utime(parent, ns=(before.st_atime_ns, before.st_mtime_ns))


def _remove(name: str, parent: int) -> None:
    if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        remove_directory(name, dir_fd=parent)
    else:
        os.unlink(name, dir_fd=parent)
