"""What a command may do: the capabilities and system calls that docker's defaults leave, and the account that it runs as.

The filters lie beside this module as the kernel takes them; `tools/seccomp.py` makes them of a table. There is no
no_new_privs, as there is none with docker: sudo, su and ping work in a RUN.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import signal
import termios
from collections.abc import Iterable

from pybuild.builder.sandbox import kernel, privilege
from pybuild.builder.steps.accounts import Account

# Source: moby, daemon/pkg/oci/caps/defaults.go; linux/capability.h for the numbers.
CAPABILITIES = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
    "NET_BIND_SERVICE": 10,
    "NET_RAW": 13,
    "SYS_CHROOT": 18,
    "MKNOD": 27,
    "AUDIT_WRITE": 29,
    "SETFCAP": 31,
}
# Source: asm-generic/resource.h.
LIMITS = {
    "cpu": 0,
    "fsize": 1,
    "data": 2,
    "stack": 3,
    "core": 4,
    "rss": 5,
    "nproc": 6,
    "nofile": 7,
    "memlock": 8,
    "locks": 10,
    "sigpending": 11,
    "msgqueue": 12,
    "nice": 13,
    "rtprio": 14,
    "rttime": 15,
}
_KEPT = sum(1 << number for number in CAPABILITIES.values())
_LAST_CAPABILITY = 63


def seccomp_filter() -> bytes:
    """The filter for this machine. Raises OSError when there is none. To be read before the root is the image's."""
    with open(f"{os.path.dirname(__file__)}/{os.uname().machine}.bpf", "rb") as file:
        return file.read()


def limit(limits: Iterable[tuple[str, int, int]]) -> None:
    """Set limits of resources, still as root, who may raise them. Raises OSError."""
    for name, soft, hard in limits:
        try:
            resource.setrlimit(LIMITS[name], (soft, hard))
        except (OSError, ValueError) as error:
            number = error.errno if isinstance(error, OSError) else errno.EPERM
            raise OSError(number, f"cannot set the limit {name}={soft}:{hard}, which is more than there is here") from None


def give_up(account: Account, security: str, *, seccomp: bytes, ignored: Iterable[signal.Signals], has_terminal: bool) -> None:
    """Keep docker's capabilities and system calls, take the account's ids, and no longer ignore these signals.

    With the security `insecure` all capabilities stay, whoever the account is, and all calls.
    """
    # What a container around us forbids, it forbids the command too.
    with contextlib.suppress(OSError):
        kernel.join_new_keyring()
    kept = kernel.permitted_capabilities()
    if security != "insecure":
        for capability in range(_LAST_CAPABILITY + 1):
            if not _KEPT >> capability & 1 and not kernel.drop_from_bounding_set(capability):
                break
        kernel.set_ambient(0)
        # Still with CAP_SYS_ADMIN: without, the kernel would want no_new_privs. A container that takes it away has a filter.
        if kept >> privilege.CAP_SYS_ADMIN & 1:
            kernel.load_filter(seccomp)
        kept &= _KEPT
    else:
        kernel.keep_capabilities()
    # With one id alone there are no groups to take, and the kernel refuses to take any away.
    if not privilege.has_one_id() and kept >> privilege.CAP_SETGID & 1:
        os.setgroups(sorted({account.gid, *account.groups}))
    try:
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
    except OSError as error:
        raise OSError(error.errno, f"{account.uid}:{account.gid} is not among the ids here") from None
    if security == "insecure":
        kernel.set_capabilities(kept, kept)
        kernel.set_ambient(kept)
    else:
        # Inheritable ones would come back with any program that has them in its file (CVE-2022-24769).
        kernel.set_capabilities(kept if account.uid == 0 else 0, 0)
    # A change of ids forgets it.
    kernel.die_with_parent(signal.SIGKILL)
    os.setsid()
    if has_terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
