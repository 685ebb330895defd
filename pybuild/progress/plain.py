"""Lines for a log: each says which step it belongs to, since steps run side by side."""

from __future__ import annotations

import time

from pybuild.builder.events import CANCELED, Event, Finished, Notice, StepFinished, StepOutput, StepStarted
from pybuild.builder.output import harmless
from pybuild.hints import TextIO
from pybuild.progress import text
from pybuild.registry.progress import Transferred

_PAUSE_SECONDS = 5.0
# What has no end is told in pieces.
_LONGEST_LINE = 16 << 10


class Plain:
    """Writes lines; a step's number stands in front of all that it says."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._steps: dict[int, int] = {}
        self._rests: dict[tuple[int, int], bytes] = {}
        self._told: dict[tuple[str, str], float] = {}

    def emit(self, event: Event) -> None:
        """Take one event."""
        match event:
            case StepStarted():
                number = self._steps[event.step] = len(self._steps) + 1
                self._line(f"#{number} {text.place(event)} {text.printable(event.name)}")
            case StepOutput():
                self._output(event)
            case StepFinished():
                self._finished(event)
            case Transferred():
                self._transferred(event)
            case Notice():
                self._line(f"warning: {text.printable_lines(event.message)}")
            case Finished():
                self._line(text.result(event))

    def _line(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()

    def _output(self, event: StepOutput) -> None:
        content = self._rests.pop((event.step, event.stream), b"") + event.content
        *lines, rest = content.split(b"\n")
        while len(rest) > _LONGEST_LINE:
            lines.append(rest[:_LONGEST_LINE])
            rest = rest[_LONGEST_LINE:]
        for line in lines:
            self._line(f"#{self._steps[event.step]} {harmless(line.decode('utf-8', 'backslashreplace'))}")
        if rest:
            self._rests[event.step, event.stream] = rest

    def _finished(self, event: StepFinished) -> None:
        for stream in (1, 2):
            if (event.step, stream) in self._rests:
                self._output(StepOutput(event.step, stream, b"\n"))
        number = self._steps[event.step]
        if event.error is not None:
            self._line(f"#{number} CANCELED" if event.error == CANCELED else f"#{number} ERROR {text.first_line(event.error)}")
        else:
            self._line(f"#{number} {'CACHED' if event.is_cached else f'DONE {text.seconds(event.seconds)}'}")

    def _transferred(self, event: Transferred) -> None:
        key = (event.action, event.name)
        now = time.monotonic()
        if event.action in ("mounted", "exists"):
            self._line(f"{event.name} {'already there' if event.action == 'exists' else event.action}")
        elif event.done >= event.total:
            self._line(f"{event.name} {event.action}ed {text.size(event.total)}")
        elif now - self._told.setdefault(key, now) >= _PAUSE_SECONDS:
            self._told[key] = now
            self._line(f"{event.name} {event.action} {text.size(event.done)} of {text.size(event.total)}")
