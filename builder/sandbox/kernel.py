"""The system calls that Python does not have. The only user of ctypes. Each raises OSError as Python's own do.

Source: the man pages of the calls; the numbers of those that the C library lacks are one for all architectures since 5.1.
"""

from __future__ import annotations

import ctypes
import os

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP = 1, 24
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_SYS_MOVE_MOUNT, _SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 429, 430, 431, 432
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_MOVE_MOUNT_F_EMPTY_PATH = 4
_AT_FDCWD = -100
_CLOEXEC = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _text(value: str | None) -> bytes | None:
    return None if value is None else os.fsencode(value)


def unshare(flags: int) -> None:
    """Leave the namespaces that `flags` (CLONE_NEW...) name."""
    _check(_libc.unshare(flags), "unshare")


def enter_namespace(descriptor: int, kind: int) -> None:
    """setns(2): go into a namespace of this kind (CLONE_NEW...)."""
    _check(_libc.setns(descriptor, kind), "setns")


def mount(source: str | None, target: str, kind: str | None, flags: int = 0, data: str | None = None) -> None:
    """mount(2)."""
    _check(
        _libc.mount(_text(source), _text(target), _text(kind), ctypes.c_ulong(flags), _text(data)),
        f"mount {kind or source} on {target}",
    )


def unmount(target: str) -> None:
    """Detach what is mounted at `target`: files there may still be open."""
    _check(_libc.umount2(_text(target), MNT_DETACH), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2)."""
    number = _SYS_PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(38, f"pivot_root is not known for {os.uname().machine}")
    _check(_libc.syscall(ctypes.c_long(number), _text(new), _text(old)), "pivot_root")


def mount_overlay(options: tuple[tuple[str, str], ...], target: str) -> None:
    """Mount an overlay through the new mount API, which takes lower directories one at a time (Linux >= 6.8)."""
    context = _check(_libc.syscall(ctypes.c_long(_SYS_FSOPEN), b"overlay", _CLOEXEC), "fsopen overlay")
    try:
        for key, value in options:
            _fsconfig(context, _FSCONFIG_SET_STRING, key, value)
        _fsconfig(context, _FSCONFIG_CMD_CREATE, None, None)
        mounted = _check(_libc.syscall(ctypes.c_long(_SYS_FSMOUNT), context, _CLOEXEC, 0), "fsmount overlay")
        try:
            result = _libc.syscall(
                ctypes.c_long(_SYS_MOVE_MOUNT), mounted, b"", _AT_FDCWD, _text(target), _MOVE_MOUNT_F_EMPTY_PATH
            )
            _check(result, f"move_mount {target}")
        finally:
            os.close(mounted)
    finally:
        os.close(context)


def _fsconfig(context: int, command: int, key: str | None, value: str | None) -> None:
    result = _libc.syscall(ctypes.c_long(_SYS_FSCONFIG), context, command, _text(key), _text(value), 0)
    _check(result, f"overlay option {key or 'create'}")


def die_with_parent(signal: int) -> None:
    """Get a signal when the parent ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal), 0, 0, 0), "prctl PDEATHSIG")


def drop_from_bounding_set(capability: int) -> bool:
    """Give a capability up for good; False when the kernel has none of this number."""
    return int(_libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0)) == 0


def set_hostname(name: str) -> None:
    """sethostname(2)."""
    content = os.fsencode(name)
    _check(_libc.sethostname(content, ctypes.c_size_t(len(content))), "sethostname")
