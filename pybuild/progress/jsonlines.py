"""Events as JSON, one object a line: `{"event": "StepStarted", ...}` with the fields of `pybuild.builder.events`."""

from __future__ import annotations

import json

from pybuild.builder.events import Event, LayerGrows, Tick
from pybuild.hints import TextIO
from pybuild.values import field_names


class JsonLines:
    """Writes every event for a program to read."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def emit(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, Tick | LayerGrows):
            return
        fields = {
            name: value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
            for name in field_names(event)
            for value in (getattr(event, name),)
        }
        self._stream.write(json.dumps({"event": type(event).__name__, **fields}) + "\n")
        self._stream.flush()
