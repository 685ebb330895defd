"""Blobs on their way to a registry while the image that they are of is still being made, large ones while they are being written.

Only to save time: what goes wrong here is left to the push of the image, which looks what is there, sends the rest and tells of
errors.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack, closing, nullcontext
from queue import SimpleQueue

from pybuild.hints import TYPE_CHECKING
from pybuild.registry.digest import Digest
from pybuild.registry.errors import RegistryError
from pybuild.registry.growing import WORTHWHILE, Growing
from pybuild.registry.model import Descriptor
from pybuild.registry.parallel import POLL_SECONDS, Stop, Stopped
from pybuild.registry.progress import Listener
from pybuild.registry.reference import Reference
from pybuild.registry.store import Store

if TYPE_CHECKING:
    from pybuild.registry.retries import Patience
    from pybuild.registry.sources import Sources

_THREADS = 2


class EarlyPush:
    """Sends blobs of a store to repositories, in the background. No thread is started before there is something to send."""

    def __init__(
        self,
        store: Store,
        references: Sequence[Reference],
        *,
        insecure: bool,
        listener: Listener,
        patience: Patience | None = None,
    ) -> None:
        self._store, self._insecure, self._listener, self._patience = store, insecure, listener, patience
        self._references = tuple({(reference.registry, reference.path): reference for reference in references}.values())
        self._waiting: SimpleQueue[tuple[Reference, Descriptor | Growing] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._offered: set[Digest] = set()
        self._growing: dict[str, Growing] = {}
        self._stop = Stop()
        self._has_failed = False
        self.sent: set[str] = set()

    def grow(self, path: str, size: int) -> None:
        """A blob is being written to this file of the store, and has so many bytes by now. Returns at once."""
        if size < WORTHWHILE or self._has_failed:
            return
        if path not in self._growing:
            try:
                self._growing[path] = Growing(path)
            except OSError:
                # It is whole by now, and no longer called that.
                return
            # To the first repository alone: the others may mount it there.
            self._send(self._references[0], self._growing[path])
        self._growing[path].grow(size)

    def offer(self, blob: Descriptor, *, path: str = "") -> None:
        """A blob that is in the store now, where it was `path` while it was written. Returns at once."""
        growing = self._growing.pop(path, None)
        if growing is not None:
            growing.finish(blob)
        if blob.digest in self._offered:
            return
        self._offered.add(blob.digest)
        for reference in self._references[1:] if growing is not None else self._references:
            self._send(reference, blob)

    def finish(self) -> None:
        """Wait until everything that was offered is there, or something went wrong."""
        self._end()
        for thread in self._threads:
            while thread.is_alive():
                thread.join(POLL_SECONDS)
        self._threads.clear()

    def stop(self) -> None:
        """Send no more; what is on its way ends at its next block, and is not waited for."""
        self._stop.set()
        self._end()

    def _end(self) -> None:
        for growing in self._growing.values():
            growing.give_up()
        for _ in self._threads:
            self._waiting.put(None)

    def _send(self, reference: Reference, item: Descriptor | Growing) -> None:
        self._waiting.put((reference, item))
        while len(self._threads) < _THREADS:
            thread = threading.Thread(target=self._work, name=f"push_{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _open(self, reference: Reference) -> Sources:
        from pybuild.registry.sources import Sources

        return Sources(reference, insecure=self._insecure, patience=self._patience, connections=1, actions=("pull", "push"))

    def _work(self) -> None:
        from pybuild.registry.origins import remember
        from pybuild.registry.transfer import push_blob, push_growing

        opened: dict[Reference, Sources] = {}
        with ExitStack() as resources:
            while (entry := self._waiting.get()) is not None:
                reference, item = entry
                with closing(item) if isinstance(item, Growing) else nullcontext():
                    if self._has_failed:
                        continue
                    try:
                        if reference not in opened:
                            opened[reference] = resources.enter_context(self._open(reference))
                        repository = opened[reference].main
                        if isinstance(item, Growing):
                            item = push_growing(self._store, repository, item, listener=self._listener, stop=self._stop)
                        else:
                            push_blob(self._store, repository, item, listener=self._listener, stop=self._stop)
                        self.sent.add(item.digest.short)
                        # Another name in the same registry has it mounted.
                        remember(self._store, repository.name, (item.digest,))
                    except Stopped:
                        # What was being written has come to nothing, or all has.
                        continue
                    except (RegistryError, OSError):
                        self._has_failed = True
