"""A few transfers at a time. The first failure, or Ctrl-C, ends them all at their next block."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue

from pybuild.registry.errors import OutOfTime

# How long one that waits for the network may keep the others' error from being told.
_GRACE_SECONDS = 1.0
# How often one that waits looks whether it was interrupted: a signal that another thread got does not wake it.
POLL_SECONDS = 0.1


class Stopped(Exception):
    """Raised inside a transfer that is no longer wanted."""


class Stop:
    """Says whether to go on: with all, or with nothing but the pieces of large blobs that are on their way."""

    def __init__(self) -> None:
        self._is_set = False
        self._is_ending = False
        self._pieces = 0
        self._change = threading.Condition()

    def set(self) -> None:
        """No more, please."""
        self._is_set = True

    def check(self) -> None:
        """Raise Stopped when it is over."""
        if self._is_set:
            raise Stopped

    def check_next(self) -> None:
        """Raise Stopped when nothing new is to be begun."""
        if self._is_set or self._is_ending:
            raise Stopped

    @contextlib.contextmanager
    def piece(self) -> Iterator[None]:
        """Something that would be lost if it were broken off. Raises Stopped when it is not to be begun."""
        with self._change:
            self.check_next()
            self._pieces += 1
        try:
            yield
        finally:
            with self._change:
                self._pieces -= 1
                self._change.notify_all()

    def end(self, seconds: float) -> None:
        """Begin nothing new, and wait for the pieces that are on their way, for so long."""
        with self._change:
            self._is_ending = True
            self._change.wait_for(lambda: not self._pieces, seconds)


def run(tasks: Sequence[Callable[[], None]], stop: Stop, *, jobs: int, seconds: float | None = None) -> None:
    """Do all tasks, `jobs` at a time; they call `stop.check` often. Raises the first error of any, OutOfTime after `seconds`.

    A task that hangs in the network is left behind: its thread is a daemon's and cannot keep the program from ending. When others
    than an error end it, each task may come to its own end, and Stopped is raised.
    """
    waiting = deque(tasks)
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def work() -> None:
        try:
            while True:
                stop.check_next()
                try:
                    task = waiting.popleft()
                except IndexError:
                    break
                task()
        except BaseException as error:
            ended.put(error)
        else:
            ended.put(None)

    threads = [
        threading.Thread(target=work, name=f"transfer_{number}", daemon=True) for number in range(min(max(jobs, 1), len(waiting)))
    ]
    try:
        for thread in threads:
            thread.start()
        _wait(ended, len(threads), None if seconds is None else time.monotonic() + seconds)
    except BaseException:
        stop.set()
        end = time.monotonic() + _GRACE_SECONDS
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, end - time.monotonic()))
        raise


def _wait(ended: SimpleQueue[BaseException | None], left: int, end: float | None) -> None:
    """Wait for as many ends as are left. Raises the first error, OutOfTime at `end`, and Stopped when others end it."""
    stopped = None
    while left:
        try:
            error = ended.get(timeout=POLL_SECONDS)
        except Empty:
            if end is not None and time.monotonic() >= end:
                raise OutOfTime("time is up", url="", hint="it goes on from here the next time") from None
            continue
        left -= 1
        if isinstance(error, Stopped):
            # From outside: others may have a piece to end.
            stopped = error
        elif error is not None:
            raise error
    if stopped is not None:
        raise stopped
