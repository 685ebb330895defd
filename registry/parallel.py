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

    count = min(max(jobs, 1), len(waiting))
    for number in range(count):
        threading.Thread(target=work, name=f"transfer_{number}", daemon=True).start()
    left, stopped = count, None
    end = None if seconds is None else time.monotonic() + seconds
    try:
        while left:
            try:
                error = ended.get(timeout=None if end is None else max(0.0, end - time.monotonic()))
            except Empty:
                raise OutOfTime("time is up", url="", hint="it goes on from here the next time") from None
            left -= 1
            if isinstance(error, Stopped):
                # From outside: others may have a piece to end.
                stopped = error
            elif error is not None:
                raise error
        if stopped is not None:
            raise stopped
    except BaseException:
        stop.set()
        with contextlib.suppress(Empty):
            for _ in range(left):
                ended.get(timeout=_GRACE_SECONDS)
        raise
