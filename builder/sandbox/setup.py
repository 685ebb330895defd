"""What happens in pid 1 once the command is known: its root, what is mounted over that, and the way in.

Everything that comes from the image is looked at only after the root has been changed, or by names that were settled
before; the command itself starts last. Nothing here may import where it is used: that module would be the image's.
"""

from __future__ import annotations

import contextlib
import os

from pybuild.builder.sandbox import cgroups, kernel
from pybuild.builder.sandbox.network import raise_loopback
from pybuild.builder.sandbox.overlays import mount_root
from pybuild.builder.sandbox.spec import NO, STANDING, Command


def furnish(command: Command, *, has_devices: bool) -> None:
    """Mount the command's root, and in it what was put up on the stage; without `has_devices` no node in it opens a device.

    Raises OSError, saying what could not be done.
    """
    os.umask(0o022)
    # Before the namespace of groups, in which this one is the top.
    cgroups.join(command.groups)
    if command.setting.is_bare:
        # What stands in for mounts is in the folder already.
        return
    # A kernel without cgroups has nothing to hide.
    with contextlib.suppress(OSError):
        kernel.unshare(kernel.CLONE_NEWCGROUP)
    mount_root(command.rootfs)
    root = command.rootfs.mountpoint
    if not has_devices:
        kernel.refuse_devices(root)
    _refuse_links(command, root)
    _make_mount_points(command, root)
    for target in STANDING:
        kernel.mount(f"{command.setting.stage}/{target}", f"{root}/{target}", None, kernel.MS_MOVE)
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        # What is allowed here can be read, as runtimes of languages do. Not everybody may mount it.
        with contextlib.suppress(OSError):
            kernel.mount("cgroup", f"{root}/sys/fs/cgroup", "cgroup2", NO | kernel.MS_RDONLY)
    for mount in command.mounts:
        target = f"{root}/{mount.target}"
        kernel.mount(mount.source, target, None, mount.flags & ~kernel.MS_RDONLY)
        if mount.flags & kernel.MS_RDONLY:
            kernel.make_read_only(target)


def enter(command: Command) -> None:
    """Make the sandbox's root this process's root."""
    os.chdir(command.rootfs.mountpoint)
    if command.setting.is_bare:
        if command.setting.network == "none":
            try:
                kernel.unshare(kernel.CLONE_NEWNET)
            except OSError as error:
                raise OSError(
                    error.errno, f"--network=none takes a network namespace, which is refused: {error.strerror}"
                ) from None
            raise_loopback()
        os.chroot(".")
        return
    # Both at one place: the old root lies on top of the new one, and is detached from there.
    kernel.pivot_root(".", ".")
    kernel.unmount(".")
    os.chdir("/")
    kernel.set_hostname(command.hostname)


def go_to(cwd: str) -> None:
    """Go to the working directory, still as root, as runc has it: the account need not be able to. Made when missing."""
    try:
        os.chdir(cwd)
    except FileNotFoundError:
        os.makedirs(cwd, 0o755, exist_ok=True)
        os.chdir(cwd)
    # Raises when that is nowhere below the root: by a descriptor of the host's, if there were one (CVE-2024-21626).
    os.getcwd()


def _refuse_links(command: Command, root: str) -> None:
    """Raise OSError when there is a link on the way to a mount point: names of these are used as they are, from outside.

    There is none in an image, whose links have been followed, but there may be one in what a failed step has left.
    """
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path in {path for path, _ in command.missing} | {mount.target for mount in command.mounts} | {*STANDING}:
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
