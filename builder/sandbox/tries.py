"""What this place allows, found out by trying: each try is a fork that does the thing, and leaves nothing.

A try gives None when it works, and else the reason why it doesn't. For a process with one thread.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from pybuild.builder.layers.index import TreeView
from pybuild.builder.sandbox import kernel
from pybuild.builder.sandbox.forking import fork, reap
from pybuild.builder.sandbox.network import end, find_stack, start, wait
from pybuild.builder.sandbox.overlays import mount_overlay
from pybuild.builder.sandbox.spec import Overlay
from pybuild.builder.workspace import new_folder, remove

_LONGEST = 2000
_SPACES = kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
# What is used up for the moment, perhaps by a command: processes, memory, files.
SHORT = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
# What a try tells first; nothing when it is killed.
_WORKS, _REFUSED, _SHORT_FOR_NOW = b"+", b"-", b"~"


class Reason(str):
    """Why something cannot be done. `is_passing` when that says nothing about this place: something is short for the moment."""

    is_passing: bool

    def __new__(cls, text: str, *, is_passing: bool = False) -> Reason:
        found = super().__new__(cls, text)
        found.is_passing = is_passing
        return found


def attempt(action: Callable[[], None]) -> Reason | None:
    """Do something in a fork; why it cannot be done, None when it can."""
    source, end = os.pipe2(os.O_CLOEXEC)
    try:
        pid = fork()
    except OSError as error:
        os.close(source)
        os.close(end)
        return Reason(_reason(error), is_passing=True)
    if pid == 0:
        told = _WORKS
        try:
            action()
        except BaseException as error:
            is_short = isinstance(error, MemoryError) or getattr(error, "errno", None) in SHORT
            told = _SHORT_FOR_NOW if is_short else _REFUSED
            told += (_reason(error) or "it failed").encode("utf-8", "replace")[:_LONGEST]
        finally:
            os.write(end, told)
            os._exit(0)
    os.close(end)
    with open(source, "rb") as stream:
        told = stream.read()
    code = reap(pid)
    if told == _WORKS:
        return None
    # Killed: memory has run out.
    reason = told[1:].decode("utf-8", "replace") or f"the try ended with {code}"
    return Reason(reason, is_passing=told[:1] != _REFUSED)


def _reason(error: BaseException) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def user_namespace() -> Reason | None:
    """Whether a user namespace can be made."""
    return attempt(lambda: kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWPID))


def namespaces(folder: str) -> Reason | None:
    """Whether what a sandbox needs can be unshared and mounted; `folder` is an empty one to try it on."""

    def act() -> None:
        kernel.unshare(_SPACES | kernel.CLONE_NEWPID)
        kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
        kernel.mount("tmpfs", folder, "tmpfs")
        if reason := attempt(lambda: kernel.mount("proc", folder, "proc", kernel.MS_NOSUID)):
            raise OSError(errno.EAGAIN if reason.is_passing else 0, reason)

    return attempt(act)


def overlay(folder: str) -> Reason | None:
    """Whether the kernel's overlay works with its directories in a new folder of `folder`, where mounts are allowed."""
    # Not as it is left behind: overlay's work directory has no permission bits.
    scratch = new_folder(folder, "try-")
    try:
        return attempt(lambda: _try_overlay(scratch))
    finally:
        remove(scratch)


def _try_overlay(scratch: str) -> None:
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    for name in ("lower/d/sub", "upper", "work", "root"):
        os.makedirs(f"{scratch}/{name}")
    mount_overlay(Overlay((f"{scratch}/lower",), f"{scratch}/upper", f"{scratch}/work", f"{scratch}/root"))
    # Where attributes cannot be kept, this is what fails.
    os.rmdir(f"{scratch}/root/d/sub")
    os.rmdir(f"{scratch}/root/d")
    os.mkdir(f"{scratch}/root/d")
    if os.listdir(f"{scratch}/root/d") or not TreeView(f"{scratch}/upper").is_opaque("d"):
        raise OSError(0, "a directory made anew is not marked as opaque")


def network() -> str | None:
    """Whether a sandbox can have a network of its own."""
    stack = find_stack()
    if stack is None:
        return "neither pasta nor slirp4netns is here"

    def act() -> None:
        # What it says is for who starts it.
        os.dup2(os.open(os.devnull, os.O_RDWR), 2)
        network = start(stack.argv)
        try:
            kernel.enter_namespace(network.namespace, kernel.CLONE_NEWNET)
            wait(network)
        finally:
            end(network)

    return attempt(act)


def chroot(folder: str) -> str | None:
    """Whether the root folder can be changed."""
    return attempt(lambda: os.chroot(folder))


def program(argv: tuple[str, ...]) -> str | None:
    """Whether a program runs and ends with 0; its last line when it doesn't."""
    import subprocess

    try:
        done = subprocess.run(argv, capture_output=True, check=False, timeout=5, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return _reason(error)
    return None if done.returncode == 0 else (done.stderr or done.stdout).decode("utf-8", "replace").strip().rpartition("\n")[2]
