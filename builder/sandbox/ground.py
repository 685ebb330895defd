"""What a sandbox stands on here: which isolation, and what its root is made of.

Tries cost 10 ms, so at first what most places have is taken for granted; a sandbox that cannot be made there runs nothing,
and only then it is tried what can be had. The spawn server does that: pybuild has threads by then.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

from pybuild.builder.errors import SandboxError, SandboxRefused
from pybuild.builder.layers.ownership import mark_opaque
from pybuild.builder.sandbox import privilege, tries
from pybuild.builder.workspace import new_folder, remove
from pybuild.hints import TypeVar
from pybuild.values import frozen

T = TypeVar("T")
_DOCTOR = "'pybuild doctor' says what this place allows"
SHORT = "processes or memory are used up: 'ulimit -u', the limits of a container; build again, or with --pids-limit and --memory"
_CHROOT = "RUN is kept in a folder by chroot and by nothing else: it has this place in reach, processes, network and all"


@frozen
class Ground:
    """`isolation` is namespaces or chroot, `root` overlay or copy. `notices` are for the user to know."""

    isolation: str
    root: str
    notices: tuple[str, ...] = ()


class Standing:
    """The ground of one build's commands. Safe for several threads. `find` finds out, `notify` tells the user."""

    def __init__(self, first: Ground, find: Callable[[], Ground], notify: Callable[[str], None]) -> None:
        self._ground = first
        self._find = find
        self._notify = notify
        self._mutex = threading.Lock()
        self._tell(first)

    def on(self, work: Callable[[Ground], T]) -> T:
        """Do some work on the ground that there is, once more on another if the first does not bear. Raises SandboxError."""
        ground = self._ground
        try:
            return work(ground)
        except SandboxRefused:
            with self._mutex:
                if self._ground is ground:
                    found = self._find()
                    if (found.isolation, found.root) == (ground.isolation, ground.root):
                        raise
                    self._ground = found
                    self._tell(found)
            return work(self._ground)

    def _tell(self, ground: Ground) -> None:
        for notice in ground.notices:
            self._notify(notice)


def is_user_namespace_needed(isolation: str) -> bool:
    """Whether the work has to be done in a user namespace: for who may not mount, and has nothing else."""
    if privilege.has(privilege.CAP_SYS_ADMIN):
        return False
    may_chroot = os.geteuid() == 0 and privilege.has(privilege.CAP_SYS_CHROOT)
    if isolation == "chroot" and may_chroot:
        return False
    return not (may_chroot and isolation == "auto" and _is_refused(tries.user_namespace()))


def _is_refused(reason: tries.Reason | None) -> bool:
    """Whether this place does not allow something.

    Raises SandboxError when something is short for the moment: a command that takes all processes, or all memory, must not get
    the next one a sandbox that keeps less apart.
    """
    if reason is not None and reason.is_passing:
        raise SandboxError(f"cannot make a sandbox for now: {reason}", hint=SHORT)
    return reason is not None


def first_guess(isolation: str, folder: str) -> Ground:
    """What most places have, if nothing says that this one hasn't. Raises SandboxError."""
    if isolation == "chroot" or not privilege.has(privilege.CAP_SYS_ADMIN) or not _keeps_marks(folder):
        return find(isolation, folder)
    return Ground("namespaces", "overlay")


@contextlib.contextmanager
def _passing(folder: str) -> Iterator[str]:
    scratch = new_folder(folder, "try-")
    try:
        yield scratch
    finally:
        remove(scratch)


def _keeps_marks(folder: str) -> bool:
    """Whether overlay can mark directories in there; where it can't, the kernel mounts one all the same."""
    with _passing(folder) as scratch:
        descriptor = os.open(scratch, os.O_RDONLY | os.O_CLOEXEC)
        try:
            mark_opaque(descriptor)
        except OSError:
            return False
        finally:
            os.close(descriptor)
    return True


def find(isolation: str, folder: str) -> Ground:
    """The ground for this process, tried in `folder`, where the sandboxes' files are to lie. Raises SandboxError."""
    with _passing(folder) as scratch:
        reason = None if isolation == "chroot" else tries.namespaces(scratch)
        if isolation != "chroot" and not _is_refused(reason):
            return _with_root(folder)
        if isolation == "namespaces":
            raise SandboxError(f"namespaces are refused here: {reason}", hint=_DOCTOR)
        refusal = tries.chroot(scratch)
    if refusal is None:
        return Ground("chroot", "copy", (_CHROOT if not reason else f"{_CHROOT}. Namespaces are refused: {reason}",))
    tried = f"neither with namespaces ({reason or 'not tried'}) nor with chroot ({refusal})"
    raise SandboxError(f"RUN works {tried} here", hint=_DOCTOR)


def _with_root(folder: str) -> Ground:
    reason = tries.overlay(folder)
    if not _is_refused(reason):
        return Ground("namespaces", "overlay")
    notice = f"no overlay in {folder} ({reason}): each RUN works on a copy of the whole file system"
    return Ground("namespaces", "copy", (notice,))
