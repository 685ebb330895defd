"""What every sandbox has, put up before its command is known: namespaces, and /proc, /dev and /sys on a stage.

Runs in pid 1, of which the spawn server has the next one ready while a command runs. Nothing of an image is in reach here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat

from pybuild.builder.sandbox import kernel
from pybuild.builder.sandbox.network import raise_loopback
from pybuild.builder.sandbox.spec import DEVICES, INSECURE_DEVICES, LINKS, MASKED, MOUNTS, NO, READ_ONLY, SHM, Mount, Setting
from pybuild.values import replace

_LOOP_CTL_GET_FREE, _LOOP_MAJOR, _LOOPS = 0x4C82, 7, 8
_NAMESPACES = kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS


def put_up(setting: Setting, *, has_devices: bool) -> None:
    """Make the namespaces of a sandbox that is not bare, and what stands in them.

    Without `has_devices` no node that is made in /dev opens a device. Raises OSError, saying what is refused.
    """
    kernel.unshare(_NAMESPACES)
    if setting.network == "none":
        kernel.unshare(kernel.CLONE_NEWNET)
        raise_loopback()
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    is_open = setting.security == "insecure"
    for mount in MOUNTS:
        target = f"{setting.stage}/{mount.target}"
        if mount.target == SHM and setting.shm_size is not None:
            mount = replace(mount, data=f"mode=1777,size={setting.shm_size}")
        if mount.target == "sys" and is_open:
            mount = replace(mount, flags=mount.flags & ~kernel.MS_RDONLY)
        _mount(mount, target)
        if mount.target == "dev":
            _fill_dev(target, are_lent=not has_devices)
            if not has_devices:
                kernel.refuse_devices(target)
            if is_open:
                _lend_devices(target)
    if not is_open:
        _protect(setting.stage)


def _mount(mount: Mount, target: str) -> None:
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


def _fill_dev(dev: str, *, are_lent: bool) -> None:
    for name, (major, minor) in DEVICES.items():
        try:
            if are_lent:
                raise PermissionError
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
    # The machine's own may be in use: those that come next.
    with contextlib.suppress(OSError):
        for number in range(_first_free_loop() + _LOOPS):
            os.mknod(f"{dev}/loop{number}", stat.S_IFBLK | 0o660, os.makedev(_LOOP_MAJOR, number))


def _first_free_loop() -> int:
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        return fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
    finally:
        os.close(control)


def _protect(stage: str) -> None:
    for path in READ_ONLY:
        place = f"{stage}/{path}"
        if os.path.lexists(place):
            kernel.mount(place, place, None, kernel.MS_BIND | kernel.MS_REC)
            kernel.mount(None, place, None, kernel.MS_BIND | kernel.MS_REMOUNT | kernel.MS_RDONLY | NO)
    for path in MASKED:
        place = f"{stage}/{path}"
        if os.path.isdir(place):
            kernel.mount("tmpfs", place, "tmpfs", kernel.MS_RDONLY, "size=0k")
        elif os.path.lexists(place):
            kernel.mount("/dev/null", place, None, kernel.MS_BIND)
