"""Nothing but warnings."""

from __future__ import annotations

from pybuild.builder.events import Event, Notice
from pybuild.hints import TextIO
from pybuild.progress.text import printable_lines


class Quiet:
    """Shows warnings alone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def emit(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, Notice):
            self._stream.write(f"warning: {printable_lines(event.message)}\n")
