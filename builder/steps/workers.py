"""Threads for a build's work: what is handed in is done as soon as one is free, and what is done is handed back.

`concurrent.futures` does more, and brings `logging` with it: 5 ms of each build that has something to do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from queue import Empty, SimpleQueue

from pybuild.hints import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Workers(Generic[T]):
    """At most `count` threads, started as they are needed. For one thread to hand in and take back.

    Where there can be no more threads, those that there are do the work, and without any it is done as it is handed in.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._threads: list[threading.Thread] = []
        self._waiting: SimpleQueue[tuple[T, Callable[[], object]] | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[T, BaseException | None]] = SimpleQueue()
        self._is_closed = False
        self.at_work: set[T] = set()

    def submit(self, name: T, work: Callable[[], object]) -> None:
        """Have some work done, under a name that comes back with it."""
        self.at_work.add(name)
        self._waiting.put((name, work))
        if len(self._threads) < min(self._count, len(self.at_work)):
            thread = threading.Thread(target=self._run, name=f"worker_{len(self._threads)}", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # What the user may have of processes (ulimit -u), or of memory, is used up.
                if not self._threads:
                    self._waiting.put(None)
                    self._run()
            else:
                self._threads.append(thread)

    def take(self, timeout: float) -> list[tuple[T, BaseException | None]]:
        """What has been done by now: names, and what was raised. Waits for one at least, but no longer than `timeout` seconds."""
        found = []
        try:
            found.append(self._done.get(timeout=timeout))
            while True:
                found.append(self._done.get_nowait())
        except Empty:
            pass
        for name, _ in found:
            self.at_work.discard(name)
        return found

    def close(self) -> None:
        """Wait for what has begun; what has not is dropped. Idempotent."""
        self._is_closed = True
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if self._is_closed:
                continue
            name, work = item
            error = None
            try:
                work()
            except BaseException as raised:
                error = raised
            # What the work holds may be much: it goes before the next is waited for.
            del item, work
            self._done.put((name, error))
