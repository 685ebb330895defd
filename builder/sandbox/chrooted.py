"""What stands in for mounts where there are none: put into a copy of an image before a command, and taken out after.

Only what most commands ask for: the usual devices as far as they may be made, resolv.conf, hosts and hostname. There is no
/proc and no /sys. What is taken out may by then be anything, with links in the way: see `beneath`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator

from pybuild.builder.errors import SandboxError
from pybuild.builder.sandbox.beneath import parent_of
from pybuild.builder.sandbox.folders import Furniture
from pybuild.builder.sandbox.spec import DEVICES, Attachment, Folder, Memory, Mount, Secret

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HINT = "--mount needs namespaces; 'pybuild doctor' says what stands in their way"


class Stand:
    """The furniture of one command in the folder `root`; `folder` is where the image's own files wait meanwhile."""

    def __init__(self, furniture: Furniture, attachments: tuple[Attachment, ...], root: str, folder: str) -> None:
        self._furniture = furniture
        self._attachments = attachments
        self._root = root
        self._folder = folder
        self._added: list[str] = []
        self._replaced: list[tuple[str, str]] = []

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
            if os.path.isfile(mount.source):
                self._replace(mount)
        for attachment in self._attachments:
            self._attach(attachment)

    def take_down(self) -> None:
        """Take it out again, as far as it is still there."""
        for path in reversed(self._added):
            with contextlib.suppress(OSError), self._unchanged(path) as (parent, name):
                if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                    shutil.rmtree(name, dir_fd=parent)
                else:
                    os.unlink(name, dir_fd=parent)
        for path, saved in reversed(self._replaced):
            with contextlib.suppress(OSError), self._unchanged(path) as (parent, name):
                os.replace(saved, name, dst_dir_fd=parent)

    def _attach(self, attachment: Attachment) -> None:
        """Put in what a --mount would show, where a copy is as good: secrets and programs, and room in memory as any room."""
        path = attachment.target.strip("/")
        origin = attachment.origin
        try:
            if isinstance(origin, Secret):
                self._make_parents(path)
                with self._unchanged(path) as (parent, name):
                    descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
                    self._added.append(path)
                    with open(descriptor, "wb") as file:
                        file.write(origin.content)
                        os.fchown(descriptor, origin.uid, origin.gid)
                        os.fchmod(descriptor, origin.mode & 0o777)
                return
            if isinstance(origin, Memory) or (isinstance(origin, Folder) and origin.is_read_only and not attachment.source):
                self._make_parents(path)
                with self._unchanged(path) as (parent, name):
                    os.mkdir(name, 0o755, dir_fd=parent)
                    self._added.append(path)
                if isinstance(origin, Folder):
                    shutil.copytree(origin.path, f"{self._root}/{path}", symlinks=True, dirs_exist_ok=True)
                return
        except OSError as error:
            raise SandboxError(f"/{path} cannot be put in the place of a mount: {error.strerror}", hint=_HINT) from error
        raise SandboxError(f"/{path} cannot be mounted: there are no mounts with chroot alone", hint=_HINT)

    def _make_parents(self, path: str) -> None:
        parts = path.split("/")
        for end in range(1, len(parts)):
            above = "/".join(parts[:end])
            with contextlib.suppress(FileExistsError), self._unchanged(above) as (parent, name):
                os.mkdir(name, 0o755, dir_fd=parent)
                self._added.append(above)

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
                self._added.append(f"dev/{name}")
        if "shm" not in there:
            with self._unchanged("dev/shm") as (parent, last):
                os.mkdir(last, dir_fd=parent)
                os.chmod(last, 0o1777, dir_fd=parent)
            self._added.append("dev/shm")

    def _replace(self, mount: Mount) -> None:
        saved = f"{self._folder}/image-{len(self._replaced)}"
        with self._unchanged(mount.target) as (parent, name):
            os.rename(name, saved, src_dir_fd=parent)
            self._replaced.append((mount.target, saved))
            shutil.copy(mount.source, f"{self._folder}/provided")
            os.rename(f"{self._folder}/provided", name, dst_dir_fd=parent)

    @contextlib.contextmanager
    def _unchanged(self, path: str) -> Iterator[tuple[int, str]]:
        """The parent of a path, whose time stays: what stands in for a mount is not the command's doing."""
        with parent_of(self._root, path) as (parent, name):
            before = os.stat(parent)
            yield parent, name
            os.utime(parent, ns=(before.st_atime_ns, before.st_mtime_ns))
