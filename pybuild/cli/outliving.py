"""A push that is killed ends the pieces that are on their way: docker's registry 2.x forgets an upload with half a piece.

The command goes on in a child process, which the one that the user knows waits for. When that one ends before, by whatever
signal, the child begins nothing new, waits a few seconds for its pieces, and ends; the next push goes on from there.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading

from pybuild.registry.parallel import POLL_SECONDS, Stop
from pybuild.registry.sessions import ending
from pybuild.registry.store import Store

# A piece that takes longer, see `pieces`, is given up.
_SECONDS = 15.0


def forked() -> tuple[int, int]:
    """Go on as two: the child's number, 0 in the child; there, what is read from to the end when the other one has gone.

    For a process with one thread.
    """
    reading, writing = os.pipe()
    child = os.fork()
    os.close(reading if child else writing)
    if not child:
        # A terminal's Ctrl-C comes here too: the other one ends by it. A handler, unlike none, is not for programs started here.
        signal.signal(signal.SIGINT, lambda number, frame: None)
    return child, writing if child else reading


def waited_for(child: int) -> int:
    """Wait for the child's end; its exit code. Raises KeyboardInterrupt."""
    ended = os.pidfd_open(child)
    # Not without end: a signal between two instructions of ours would not be seen.
    while not select.select([ended], [], [], POLL_SECONDS)[0]:
        pass
    os.close(ended)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def end_with(reading: int, stop: Stop, store: Store) -> None:
    """End this process, with its last pieces, when the one that it was forked from has gone."""
    threading.Thread(target=_watch, args=(reading, stop, store), daemon=True).start()


def _watch(reading: int, stop: Stop, store: Store) -> None:
    os.read(reading, 1)
    with ending(store):
        # Whoever reads what we write, or has a terminal for it, is done with us.
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        stop.end(_SECONDS)
        os._exit(1)


def is_possible() -> bool:
    """Whether this process may be two."""
    return sys.platform == "linux" and threading.active_count() == 1
