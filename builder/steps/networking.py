"""Which network a RUN gets: one of its own where the machine can give it, else the host's, which is said once."""

from __future__ import annotations

import os
from collections.abc import Callable

from pybuild.builder.errors import NetworkRefused
from pybuild.builder.sandbox.network import Stack, find_stack

_TRIES = 2
_TUN = "/dev/net/tun"
_ADVICE = "RUN has the network of this machine"
_MISSING = f"{_ADVICE}: install pasta (the package passt) or slirp4netns for one of its own"

Work = Callable[[str, Stack | None], None]


class Networking:
    """The networks of one build's RUNs. What the user should know of them waits until somebody listens."""

    def __init__(self) -> None:
        self._untold: list[str] = []
        self._notify: Callable[[str], None] = self._untold.append
        self._stack: Stack | None = None
        self._is_sought = False

    def listen(self, notify: Callable[[str], None]) -> None:
        """Have `notify` hear it, also what was to be said before."""
        self._notify = notify
        for text in self._untold:
            notify(text)

    def on(self, asked: str, work: Work) -> None:
        """Do some work with the network that is asked for; where it cannot be isolated, once more with the host's."""
        # Its stack may have been killed just now: the next one starts anew.
        for attempt in range(_TRIES):
            kind, stack = self.first(asked)
            if stack is None:
                break
            try:
                work(kind, stack)
                return
            except NetworkRefused as error:
                if attempt + 1 == _TRIES and self._stack is not None:
                    self._stack = None
                    reason = error.message if os.access(_TUN, os.R_OK | os.W_OK) else f"{_TUN} cannot be opened"
                    self._notify(f"{_ADVICE}: {reason} ({stack.argv[0]})")
        work(*self.first(asked))

    def first(self, asked: str) -> tuple[str, Stack | None]:
        """What is tried first when that is asked for."""
        if asked != "default":
            return asked, None
        if not self._is_sought:
            self._is_sought = True
            self._stack = find_stack()
            if self._stack is None:
                self._notify(_MISSING)
        return ("isolated", self._stack) if self._stack is not None else ("host", None)
