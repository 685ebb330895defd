"""A fork of a Python process, which may have had threads before."""

from __future__ import annotations

import gc
import os
import threading

from pybuild.lean import signal

# Of two threads the one would take the other's collector for switched off, and leave it so.
_one_at_a_time = threading.Lock()


def fork() -> int:
    """As `os.fork`, but the child never takes down what the parent has left for the garbage collector.

    Something there may own threads that only the parent has, as a compressor of several threads does, and would wait for them
    without end: a program that imports us may hold anything. Nor does the child do what the parent does about ended children, or
    tell the parent of its own signals.
    """
    # The child runs Python code before it can say anything itself: what is to be done after each fork.
    with _one_at_a_time:
        is_enabled = gc.isenabled()
        gc.disable()
        try:
            pid = os.fork()
            if pid == 0:
                gc.freeze()
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        finally:
            if is_enabled:
                gc.enable()
    return pid


def reap(pid: int) -> int | None:
    """Wait for a child of ours; its exit code, -n when signal n ended it.

    None when nobody knows: a program that imports us may ignore how its children end, or ask for all of them.
    """
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return None
