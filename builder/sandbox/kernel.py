"""The system calls that Python does not have. The only user of ctypes. Each raises OSError as Python's own do.

Source: the man pages of the calls; the numbers of those that the C library lacks are one for all architectures since 5.1.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 4096, 8192, 16384, 1 << 18
MNT_DETACH = 2
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000

_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAPBSET_DROP = 1, 8, 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 2, 4
_CAPABILITY_VERSION = 0x20080522
_SECCOMP_SET_MODE_FILTER, _SECCOMP_SPEC_ALLOW = 1, 4
_KEYCTL_JOIN_SESSION_KEYRING = 1
_SYS_CLOSE_RANGE = 436
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_SYS_MOVE_MOUNT, _SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 429, 430, 431, 432
_SYS_MOUNT_SETATTR, _SYS_OPENAT2 = 442, 437
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_IN_ROOT = 2, 4, 16
MACHINES = ("x86_64", "aarch64")
# By machine: the calls that are older than the common numbers.
_NUMBERS = {
    "pivot_root": {"x86_64": 155, "aarch64": 41},
    "keyctl": {"x86_64": 250, "aarch64": 219},
    "seccomp": {"x86_64": 317, "aarch64": 277},
    "execveat": {"x86_64": 322, "aarch64": 281},
    "bpf": {"x86_64": 321, "aarch64": 280},
}
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NODEV = 1, 4
_AT_RECURSIVE = 0x8000
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_MFD_EXEC = 0x10
_BPF_PROG_LOAD, _BPF_PROG_ATTACH, _BPF_PROG_QUERY = 5, 8, 16
_BPF_PROG_TYPE_CGROUP_DEVICE, _BPF_CGROUP_DEVICE, _BPF_F_ALLOW_MULTI = 15, 6, 2
_CLOEXEC = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _text(value: str | None) -> bytes | None:
    return None if value is None else os.fsencode(value)


def _number(name: str) -> ctypes.c_long:
    machine = os.uname().machine
    if machine not in _NUMBERS[name]:
        raise OSError(errno.ENOSYS, f"{name} is not known for {machine}")
    return ctypes.c_long(_NUMBERS[name][machine])


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


def make_read_only(target: str) -> None:
    """Make a mount and all below it read-only; on Linux before 5.12 that mount alone."""
    _set_attributes(target, _MOUNT_ATTR_RDONLY, MS_RDONLY, _AT_RECURSIVE)


def refuse_devices(target: str) -> None:
    """Have no device opened by its node in a mount: in that mount alone, not in those on it."""
    _set_attributes(target, _MOUNT_ATTR_NODEV, MS_NODEV, 0)


def _set_attributes(target: str, attributes: int, flags: int, scope: int) -> None:
    """Give a mount attributes more; `flags` is how mount(2) calls them."""
    values = struct.pack("=QQQQ", attributes, 0, 0, 0)
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR), _AT_FDCWD, _text(target), scope, values, ctypes.c_size_t(len(values))
    )
    if result < 0 and ctypes.get_errno() == errno.ENOSYS:
        mount(None, target, None, MS_BIND | MS_REMOUNT | flags)
        return
    _check(result, f"mount_setattr {target}")


def open_in_root(root: int, path: str, *, follow: bool = True) -> int:
    """A descriptor (O_PATH) of what is at `path` below the directory `root`, which no link and no `..` leads out of.

    Links of /proc are refused, and without `follow` all links. Source: openat2(2), Linux >= 5.6.
    """
    resolve = _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS | (0 if follow else _RESOLVE_NO_SYMLINKS)
    how = struct.pack("=QQQ", os.O_PATH | os.O_CLOEXEC, 0, resolve)
    name = os.fsencode(path.strip("/") or ".")
    while True:
        result = _libc.syscall(ctypes.c_long(_SYS_OPENAT2), root, name, how, ctypes.c_size_t(len(how)))
        # Something was renamed on the way: the kernel cannot tell whether it went out of the root.
        if result >= 0 or ctypes.get_errno() != errno.EAGAIN:
            break
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return int(result)


def unmount(target: str) -> None:
    """Detach what is mounted at `target`: files there may still be open."""
    _check(_libc.umount2(_text(target), MNT_DETACH), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2)."""
    _check(_libc.syscall(_number("pivot_root"), _text(new), _text(old)), "pivot_root")


def mount_overlay(options: tuple[tuple[str, str | None], ...], target: str) -> None:
    """Mount an overlay through the new mount API, which takes lower directories one at a time (Linux >= 6.8).

    An option without a value is a flag.
    """
    context = _check(_libc.syscall(ctypes.c_long(_SYS_FSOPEN), b"overlay", _CLOEXEC), "fsopen overlay")
    try:
        for key, value in options:
            _fsconfig(context, _FSCONFIG_SET_FLAG if value is None else _FSCONFIG_SET_STRING, key, value)
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


def adopt_orphans() -> None:
    """Become the parent of whatever our descendants leave behind."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1), 0, 0, 0), "prctl CHILD_SUBREAPER")


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


def keep_capabilities() -> None:
    """Have the permitted capabilities survive the next change of ids."""
    _check(_libc.prctl(_PR_SET_KEEPCAPS, ctypes.c_ulong(1), 0, 0, 0), "prctl KEEPCAPS")


def permitted_capabilities() -> int:
    """The permitted set, as bits."""
    header, sets = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    _check(_libc.capget(header, sets), "capget")
    return int(sets[1] | sets[4] << 32)


def set_capabilities(permitted: int, inheritable: int) -> None:
    """Set the permitted and effective sets to the one, the inheritable set to the other, as bits."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    words = (value >> shift & 0xFFFFFFFF for shift in (0, 32) for value in (permitted, permitted, inheritable))
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)(*words)), "capset")


def set_ambient(capabilities: int) -> None:
    """Set the ambient set, which programs have whoever runs them, to these bits."""
    _check(_libc.prctl(_PR_CAP_AMBIENT, ctypes.c_ulong(_PR_CAP_AMBIENT_CLEAR_ALL), 0, 0, 0), "prctl AMBIENT")
    for number in range(capabilities.bit_length()):
        if capabilities >> number & 1:
            _check(_libc.prctl(_PR_CAP_AMBIENT, ctypes.c_ulong(_PR_CAP_AMBIENT_RAISE), ctypes.c_ulong(number), 0, 0), "AMBIENT")


def join_new_keyring() -> None:
    """Have a session keyring of one's own, with nothing in it."""
    _check(_libc.syscall(_number("keyctl"), _KEYCTL_JOIN_SESSION_KEYRING, None), "keyctl")


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def load_filter(instructions: bytes) -> None:
    """Put a seccomp filter on this process and all that it starts. Without no_new_privs, so it needs CAP_SYS_ADMIN."""
    program = _Program(len(instructions) // 8, instructions)
    # Linux before 5.16 slows filtered programs down, against Spectre, unless asked not to: docker asks.
    for flags in (_SECCOMP_SPEC_ALLOW, 0):
        if _libc.syscall(_number("seccomp"), _SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(program)) == 0:
            return
    _check(-1, "seccomp")


def attach_device_program(group: int, instructions: bytes) -> None:
    """Let a program decide which devices the processes of a control group of version 2 may make and open.

    A group that has one already is left as it is. Raises OSError.
    """
    query = ctypes.create_string_buffer(struct.pack("=IIIIQI", group, _BPF_CGROUP_DEVICE, 0, 0, 0, 0), 64)
    _bpf(_BPF_PROG_QUERY, query)
    if struct.unpack_from("=I", query, 24)[0]:
        return
    # BPF has functions that only free programs may call; this one calls none, and is as free as pybuild is.
    code, licence = ctypes.create_string_buffer(instructions), ctypes.create_string_buffer(b"Apache-2.0")
    pointers = (ctypes.addressof(code), ctypes.addressof(licence))
    load = struct.pack("=IIQQ", _BPF_PROG_TYPE_CGROUP_DEVICE, len(instructions) // 8, *pointers)
    program = _bpf(_BPF_PROG_LOAD, ctypes.create_string_buffer(load, 128))
    try:
        attach = struct.pack("=IIII", group, program, _BPF_CGROUP_DEVICE, _BPF_F_ALLOW_MULTI)
        _bpf(_BPF_PROG_ATTACH, ctypes.create_string_buffer(attach, 64))
    finally:
        os.close(program)


def _bpf(command: int, attributes: ctypes.Array[ctypes.c_char]) -> int:
    return _check(_libc.syscall(_number("bpf"), command, attributes, len(attributes)), "bpf")


def sealed_file(name: str, content: bytes) -> int:
    """A descriptor of a program in memory, which nobody can change any more; closed when it is run."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        descriptor = os.memfd_create(name, flags | _MFD_EXEC)
    except OSError:
        # Linux before 6.3 has no such flag, and needs none.
        descriptor = os.memfd_create(name, flags)
    os.write(descriptor, content)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    return descriptor


def execute_file(descriptor: int, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    """Become the program that a descriptor has. Raises OSError."""
    argv = [os.fsencode(text) for text in arguments]
    envp = [os.fsencode(f"{name}={value}") for name, value in environment.items()]
    vectors = [(ctypes.c_char_p * (len(texts) + 1))(*texts, None) for texts in (argv, envp)]
    _check(_libc.syscall(_number("execveat"), descriptor, b"", *vectors, _AT_EMPTY_PATH), "execveat")


def close_all_but(*kept: int) -> None:
    """Close all descriptors from 3 on but these, also those above the limit that is in force by now."""
    start = 3
    for descriptor in sorted(kept):
        os.closerange(start, descriptor)
        start = max(start, descriptor + 1)
    if _libc.syscall(ctypes.c_long(_SYS_CLOSE_RANGE), ctypes.c_uint(start), ctypes.c_uint(0xFFFFFFFF), 0) != 0:
        os.closerange(start, os.sysconf("SC_OPEN_MAX"))
