"""A fork of a Python process, which may have had threads before."""

from __future__ import annotations

import gc
import os
import threading

# Of two threads the one would take the other's collector for switched off, and leave it so.
_one_at_a_time = threading.Lock()


def fork() -> int:
    """As `os.fork`, but the child never takes down what the parent has left for the garbage collector.

    Something there may own threads that only the parent has, as a compressor of several threads does, and would wait for them
    without end: a program that imports us may hold anything.
    """
    # The child runs Python code before it can say anything itself: what is to be done after each fork.
    with _one_at_a_time:
        is_enabled = gc.isenabled()
        gc.disable()
        try:
            pid = os.fork()
            if pid == 0:
                gc.freeze()
        finally:
            if is_enabled:
                gc.enable()
    return pid
