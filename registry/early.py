"""Blobs on their way to a registry while the image that they are of is still being made.

Only to save time: what goes wrong here is left to the push of the image, which looks what is there, sends the rest and tells of
errors.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from queue import SimpleQueue

from pybuild.registry.digest import Digest
from pybuild.registry.errors import RegistryError
from pybuild.registry.model import Descriptor
from pybuild.registry.parallel import Stop, Stopped
from pybuild.registry.progress import Listener
from pybuild.registry.reference import Reference
from pybuild.registry.store import Store

_THREADS = 2


class EarlyPush:
    """Sends blobs of a store to repositories, in the background. No thread is started before the first blob is offered."""

    def __init__(self, store: Store, references: Sequence[Reference], *, insecure: bool, listener: Listener) -> None:
        self._store, self._insecure, self._listener = store, insecure, listener
        self._references = {(reference.registry, reference.path): reference for reference in references}.values()
        self._waiting: SimpleQueue[tuple[Reference, Descriptor] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._offered: set[Digest] = set()
        self._stop = Stop()
        self._has_failed = False
        self.sent: set[str] = set()

    def offer(self, blob: Descriptor) -> None:
        """A blob that is in the store now. Returns at once."""
        if blob.digest in self._offered:
            return
        self._offered.add(blob.digest)
        for reference in self._references:
            self._waiting.put((reference, blob))
        while len(self._threads) < _THREADS:
            thread = threading.Thread(target=self._work, name=f"push_{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def finish(self) -> None:
        """Wait until everything that was offered is there, or something went wrong."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def stop(self) -> None:
        """Send no more; what is on its way ends at its next block, and is not waited for."""
        self._stop.set()
        for _ in self._threads:
            self._waiting.put(None)

    def _work(self) -> None:
        from pybuild.registry.sources import Sources
        from pybuild.registry.transfer import push_blob

        opened: dict[Reference, Sources] = {}
        with ExitStack() as resources:
            while (item := self._waiting.get()) is not None:
                reference, blob = item
                if self._has_failed:
                    continue
                try:
                    if reference not in opened:
                        sources = Sources(reference, insecure=self._insecure, connections=1, actions=("pull", "push"))
                        opened[reference] = resources.enter_context(sources)
                    push_blob(self._store, opened[reference].main, blob, listener=self._listener, stop=self._stop)
                    self.sent.add(blob.digest.short)
                except (RegistryError, OSError, Stopped):
                    self._has_failed = True
