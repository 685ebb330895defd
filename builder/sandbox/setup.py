"""What happens in the fork before the command is there: mounts, the new root, the start. Runs as pid 1.

Everything that comes from the image is looked at only after the root has been changed, or by names that were settled
before; the command itself starts last. Nothing here may import where it is used: that module would be the image's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import replace

from pybuild.builder.sandbox import cgroups, kernel
from pybuild.builder.sandbox.network import raise_loopback
from pybuild.builder.sandbox.overlays import mount_root
from pybuild.builder.sandbox.spec import DEVICES, INSECURE_DEVICES, LINKS, MASKED, NO, READ_ONLY, Command, Mount

_NAMESPACES = kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS


def furnish(command: Command) -> None:
    """Make the sandbox. Raises OSError, saying what could not be done."""
    os.umask(0o022)
    # Before the namespace of groups, in which this one is the top.
    cgroups.join(command.groups)
    if command.is_bare:
        # What stands in for mounts is in the folder already.
        return
    kernel.unshare(_NAMESPACES | (kernel.CLONE_NEWNET if command.network == "none" else 0))
    # A kernel without cgroups has nothing to hide.
    with contextlib.suppress(OSError):
        kernel.unshare(kernel.CLONE_NEWCGROUP)
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    mount_root(command.rootfs)
    root = command.rootfs.mountpoint
    _refuse_links(command, root)
    _make_mount_points(command, root)
    for mount in command.mounts:
        target = f"{root}/{mount.target}"
        if mount.kind == "bind":
            kernel.mount(mount.source, target, None, mount.flags & ~kernel.MS_RDONLY)
            if mount.flags & kernel.MS_RDONLY:
                kernel.make_read_only(target)
        else:
            is_open = mount.target == "sys" and command.security == "insecure"
            _mount_new(replace(mount, flags=mount.flags & ~kernel.MS_RDONLY) if is_open else mount, target)
        if mount.target == "dev":
            _fill_dev(target)
            if command.security == "insecure":
                _lend_devices(target)
        if mount.target == "sys" and os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
            # What is allowed here can be read, as runtimes of languages do. Not everybody may mount it.
            with contextlib.suppress(OSError):
                kernel.mount("cgroup", f"{target}/fs/cgroup", "cgroup2", NO | kernel.MS_RDONLY)
    if command.security != "insecure":
        _protect(root)


def enter(command: Command) -> None:
    """Make the sandbox's root this process's root."""
    os.chdir(command.rootfs.mountpoint)
    if command.is_bare:
        if command.network == "none":
            kernel.unshare(kernel.CLONE_NEWNET)
            raise_loopback()
        os.chroot(".")
        return
    # Both at one place: the old root lies on top of the new one, and is detached from there.
    kernel.pivot_root(".", ".")
    kernel.unmount(".")
    os.chdir("/")
    kernel.set_hostname(command.hostname)
    if command.network == "none":
        raise_loopback()


def _mount_new(mount: Mount, target: str) -> None:
    """Mount a file system of the kernel's, or what a user namespace may have in its place."""
    try:
        kernel.mount(mount.source, target, mount.kind, mount.flags, mount.data)
    except OSError as error:
        if mount.kind == "sysfs" and error.errno == errno.EPERM:
            # It shows a network, and is refused to who does not own that.
            kernel.mount("/sys", target, None, kernel.MS_BIND | kernel.MS_REC)
            kernel.make_read_only(target)
        elif mount.kind == "devpts" and error.errno == errno.EINVAL and mount.data is not None:
            # The group of terminals has no id here.
            kernel.mount(mount.source, target, mount.kind, mount.flags, mount.data.replace(",gid=5", ""))
        else:
            raise


def _refuse_links(command: Command, root: str) -> None:
    """Raise OSError when there is a link on the way to a mount point: names of these are used as they are, from outside.

    There is none in an image, whose links have been followed, but there may be one in what a failed step has left.
    """
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path in {path for path, _ in command.missing} | {mount.target for mount in command.mounts}:
            with contextlib.suppress(FileNotFoundError):
                os.close(kernel.open_in_root(top, path, follow=False))
    finally:
        os.close(top)


def _make_mount_points(command: Command, root: str) -> None:
    times = {}
    for path, is_directory in command.missing:
        place = f"{root}/{path}"
        parent = os.path.dirname(place)
        if parent not in times:
            status = os.stat(parent)
            times[parent] = (status.st_atime_ns, status.st_mtime_ns)
        # A shell in what a failed step has left finds them there.
        with contextlib.suppress(FileExistsError):
            if is_directory:
                os.mkdir(place, 0o755)
            else:
                os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    # A mount point is not the command's doing: it must not show in its parent's time either.
    for parent, time in times.items():
        os.utime(parent, ns=time)


def _fill_dev(dev: str) -> None:
    for name, (major, minor) in DEVICES.items():
        try:
            os.mknod(f"{dev}/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
            os.chmod(f"{dev}/{name}", 0o666)
        except PermissionError:
            # In a user namespace nobody makes devices; those of the machine are lent.
            os.close(os.open(f"{dev}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
            kernel.mount(f"/dev/{name}", f"{dev}/{name}", None, kernel.MS_BIND)
    for name, target in LINKS.items():
        if name == "core" and not os.path.exists(target):
            continue
        os.symlink(target, f"{dev}/{name}")
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(f"{dev}/{name}", 0o755)


def _lend_devices(dev: str) -> None:
    """Those of the machine that a command with all privileges may want; it could make them itself. Source: BuildKit, security."""
    for name in INSECURE_DEVICES:
        with contextlib.suppress(OSError):
            status = os.stat(f"/dev/{name}")
            os.makedirs(os.path.dirname(f"{dev}/{name}"), exist_ok=True)
            os.mknod(f"{dev}/{name}", status.st_mode, status.st_rdev)


def _protect(root: str) -> None:
    for path in READ_ONLY:
        place = f"{root}/{path}"
        if os.path.lexists(place):
            kernel.mount(place, place, None, kernel.MS_BIND | kernel.MS_REC)
            kernel.mount(None, place, None, kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY | NO)
    for path in MASKED:
        place = f"{root}/{path}"
        if os.path.isdir(place):
            kernel.mount("tmpfs", place, "tmpfs", kernel.MS_RDONLY, "size=0k")
        elif os.path.lexists(place):
            kernel.mount("/dev/null", place, None, kernel.MS_BIND)


def go_to(cwd: str) -> None:
    """Go to the working directory, still as root, as runc has it: the account need not be able to. Made when missing."""
    try:
        os.chdir(cwd)
    except FileNotFoundError:
        os.makedirs(cwd, 0o755, exist_ok=True)
        os.chdir(cwd)
    # Raises when that is nowhere below the root: by a descriptor of the host's, if there were one (CVE-2024-21626).
    os.getcwd()
