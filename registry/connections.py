"""Connections that notice a server which only pretends to answer.

A time-out on each read does not help against a server that sends a byte now and then: the head of an answer has to be there
in a time, too. One thread watches over all of them.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from pybuild.hints import Any

# How much longer than a silence the head of an answer may take in all.
_HEAD_FACTOR = 2
_LOOKS_PER_LIMIT = 8
_LONGEST_PAUSE = 1.0


class _Watch:
    """Shuts down the sockets that are not taken out in time."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._ends: dict[socket.socket, float] = {}
        self._thread: threading.Thread | None = None
        self._is_over = threading.Event()
        self._pause = _LONGEST_PAUSE

    def put_in(self, connection: socket.socket, seconds: float) -> None:
        with self._mutex:
            self._ends[connection] = time.monotonic() + seconds
            self._pause = min(self._pause, seconds / _LOOKS_PER_LIMIT)
            # In a fork the thread is not there any more.
            if self._thread is None or not self._thread.is_alive():
                self._is_over = threading.Event()
                self._thread = threading.Thread(target=self._look, args=(self._is_over,), name="watch", daemon=True)
                self._thread.start()

    def take_out(self, connection: socket.socket) -> bool:
        """Whether it was still in time."""
        with self._mutex:
            return self._ends.pop(connection, None) is not None

    def rest(self) -> None:
        """End the thread, if there is nothing to watch: who asks again later starts another."""
        with self._mutex:
            if self._ends or self._thread is None:
                return
            thread, self._thread, self._pause = self._thread, None, _LONGEST_PAUSE
            self._is_over.set()
        thread.join()

    def _look(self, is_over: threading.Event) -> None:
        while not is_over.wait(self._pause):
            now = time.monotonic()
            with self._mutex:
                late = [connection for connection, end in self._ends.items() if end < now]
                for connection in late:
                    del self._ends[connection]
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)


_WATCH = _Watch()


class _Watched:
    """An HTTP connection whose answers' heads have to be there in time."""

    sock: Any
    timeout: Any

    def getresponse(self) -> Any:
        """The answer's head, whole. Raises TimeoutError, and ProtocolError for one that is cut short."""
        watched = self.sock
        is_watched = self.timeout is not None and watched is not None
        if is_watched:
            _WATCH.put_in(watched, self.timeout * _HEAD_FACTOR)
        try:
            answer = super().getresponse()  # type: ignore[misc]
        except Exception:
            if is_watched and not _WATCH.take_out(watched):
                raise TimeoutError("timed out") from None
            raise
        if is_watched and not _WATCH.take_out(watched):
            raise TimeoutError("timed out")
        # The standard library takes a connection's end for the end of the head.
        message = getattr(getattr(answer, "_original_response", None), "msg", None)
        if message is not None and message.defects:
            raise urllib3.exceptions.ProtocolError("the head of the answer is damaged")
        return answer


class _Plain(_Watched, HTTPConnection):
    pass


class _Secure(_Watched, HTTPSConnection):
    def connect(self) -> None:
        """Connect. Whether certificates are looked at is for the user to say, who is not warned of his own word."""
        super().connect()
        self.is_verified = True


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _Secure


POOLS: dict[str, type[HTTPConnectionPool]] = {"http": _PlainPool, "https": _SecurePool}
"""The pools that make such connections, by scheme, for urllib3's PoolManager."""


def close_pools(manager: urllib3.PoolManager) -> None:
    """Close the connections that nobody uses, and end the thread that watches if nobody else needs it.

    A manager that is only cleared leaves them to the garbage collector while anything has an answer of theirs, as the traceback
    of an error does.
    """
    for key in tuple(manager.pools.keys()):
        manager.pools[key].close()
    manager.clear()
    _WATCH.rest()
