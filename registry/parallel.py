"""A few transfers at a time. The first failure, or Ctrl-C, ends them all at their next block."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from pybuild.registry.errors import OutOfTime

# How long one that waits for the network may keep the others' error from being told.
_GRACE_SECONDS = 1.0


class Stopped(Exception):
    """Raised inside a transfer that is no longer wanted."""


class Stop:
    """Says whether to go on."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        """No more, please."""
        self._is_set = True

    def check(self) -> None:
        """Raise Stopped when it is over."""
        if self._is_set:
            raise Stopped


def run(tasks: Sequence[Callable[[], None]], stop: Stop, *, jobs: int, seconds: float | None = None) -> None:
    """Do all tasks, `jobs` at a time; raises the first error of any, OutOfTime after `seconds`. Tasks call `stop.check` often.

    A task that hangs in the network is left behind: its thread is a daemon's and cannot keep the program from ending.
    """
    waiting = deque(tasks)
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def work() -> None:
        try:
            while True:
                stop.check()
                try:
                    task = waiting.popleft()
                except IndexError:
                    break
                task()
        except BaseException as error:
            ended.put(error)
        else:
            ended.put(None)

    count = min(max(jobs, 1), len(waiting))
    for _ in range(count):
        threading.Thread(target=work, daemon=True).start()
    left = count
    end = None if seconds is None else time.monotonic() + seconds
    try:
        while left:
            try:
                error = ended.get(timeout=None if end is None else max(0.0, end - time.monotonic()))
            except Empty:
                raise OutOfTime("time is up", url="", hint="it goes on from here the next time") from None
            left -= 1
            if error is not None:
                raise error
    finally:
        stop.set()
        with contextlib.suppress(Empty):
            for _ in range(left):
                ended.get(timeout=_GRACE_SECONDS)
