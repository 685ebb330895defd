"""What a transfer tells while it goes on: one value for each piece of it."""

from __future__ import annotations

from collections.abc import Callable

from pybuild.hints import Literal
from pybuild.values import frozen

Action = Literal["pull", "push", "mounted", "exists"]


@frozen
class Transferred:
    """How far one blob is: `done` of `total` bytes. `name` is its digest, the first 12 digits.

    `exists`: it was where it should go already; `mounted`: the registry took it over from another repository.
    """

    action: Action
    name: str
    done: int
    total: int


Listener = Callable[[Transferred], None]
"""Called from the threads of a transfer, but never by two at once."""


def one_at_a_time(listener: Listener | None) -> Listener:
    """A listener that several threads may call, in front of one that is called by a single thread at any time."""
    if listener is None:
        return _silence
    import threading

    mutex = threading.Lock()

    def listen(event: Transferred) -> None:
        with mutex:
            listener(event)

    return listen


def _silence(event: Transferred) -> None:
    pass
