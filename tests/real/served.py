"""`pybuild serve` in a thread of the tests', on a free port."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from pathlib import Path

from pybuild.serving import Wish, serving


@dataclass
class Served:
    """A running server: its address, the store behind it, and the lines that it told."""

    host: str
    root: Path
    lines: list


@contextlib.contextmanager
def served_store(root: Path, **wish):
    """Serve the store in a folder until the context is left."""
    lines: list = []
    with contextlib.ExitStack() as ends:
        address, serve = ends.enter_context(serving(Wish(port=0, **wish), root=root, log=lines.append))
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Served(address, root, lines)
        finally:
            # It stops when its block is left; the thread ends with it.
            ends.close()
            thread.join()
