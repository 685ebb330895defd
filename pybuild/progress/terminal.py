"""A live view for a terminal: finished steps scroll away, what is at work stays at the bottom with clocks and bars.

Plain escape sequences, no library and no thread: the view is drawn anew when an event comes, at most 20 times a second.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

from pybuild.builder.events import CANCELED, Event, Finished, Notice, StepFinished, StepOutput, StepStarted
from pybuild.hints import TextIO
from pybuild.progress import text
from pybuild.registry.progress import Transferred

_PAUSE_SECONDS = 0.05
_OUTPUT_LINES = 5
_MOST_TRANSFERS = 6
_BAR = 24
_GREEN, _RED, _BLUE, _DIM, _YELLOW, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[34m", "\x1b[2m", "\x1b[33m", "\x1b[0m"


class Terminal:
    """Draws on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._running: dict[int, tuple[StepStarted, float]] = {}
        self._output: dict[int, bytearray] = {}
        self._transfers: dict[str, Transferred] = {}
        self._drawn = 0
        self._last = 0.0

    def emit(self, event: Event) -> None:
        """Take one event."""
        match event:
            case StepStarted():
                self._running[event.step] = (event, time.monotonic())
            case StepOutput():
                kept = self._output.setdefault(event.step, bytearray())
                kept += event.content
                del kept[:-4096]
            case StepFinished():
                self._finished(event)
                return
            case Transferred():
                self._transferred(event)
            case Notice():
                self._print(f"{_YELLOW}warning:{_PLAIN} {event.message}")
                return
            case Finished():
                self._transfers.clear()
                self._print(f"{_GREEN}✓{_PLAIN} {text.result(event)}")
                return
        if time.monotonic() - self._last >= _PAUSE_SECONDS:
            self._draw()

    def _finished(self, event: StepFinished) -> None:
        step, _ = self._running.pop(event.step)
        self._output.pop(event.step, None)
        what = f"{text.place(step)} {text.printable(step.name)}"
        if event.error == CANCELED:
            self._print(f"{_DIM}- CANCELED {what}{_PLAIN}")
        elif event.error is not None:
            self._print(f"{_RED}✗{_PLAIN} {what}")
        elif event.is_cached:
            self._print(f"{_BLUE}✓ CACHED{_PLAIN} {_DIM}{what}{_PLAIN}")
        else:
            self._print(f"{_BLUE}✓{_PLAIN} {what} {_DIM}{text.seconds(event.seconds)}{_PLAIN}")

    def _transferred(self, event: Transferred) -> None:
        if event.action in ("mounted", "exists") or event.done >= event.total:
            self._transfers.pop(event.name, None)
            said = {"mounted": "mounted", "exists": "already there"}.get(
                event.action, f"{event.action}ed {text.size(event.total)}"
            )
            self._print(f"  {event.name} {_DIM}{said}{_PLAIN}")
        else:
            self._transfers[event.name] = event

    def _print(self, line: str) -> None:
        """A line that stays."""
        self._erase()
        self._stream.write(line + "\n")
        self._draw()

    def _erase(self) -> None:
        if self._drawn:
            self._stream.write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0

    def _draw(self) -> None:
        self._erase()
        width = shutil.get_terminal_size().columns
        lines = [_cut(line, width) for line in self._lines()]
        if lines:
            self._stream.write("".join(f"{line}{_PLAIN}\n" for line in lines))
        self._drawn = len(lines)
        self._stream.flush()
        self._last = time.monotonic()

    def _lines(self) -> Iterator[str]:
        now = time.monotonic()
        for number, (step, started) in self._running.items():
            yield f"> {text.place(step)} {text.printable(step.name)} {text.seconds(now - started)}"
            shown = self._output.get(number, bytearray()).decode("utf-8", "replace").rstrip("\n").split("\n")[-_OUTPUT_LINES:]
            yield from (f"{_DIM}  │ {text.printable(line.rpartition(chr(13))[2])}" for line in shown if line)
        for event in list(self._transfers.values())[:_MOST_TRANSFERS]:
            filled = _BAR * event.done // max(event.total, 1)
            bar = "█" * filled + "░" * (_BAR - filled)
            yield f"  {event.name} {event.action} {bar} {text.size(event.done)} / {text.size(event.total)}"


def _cut(line: str, width: int) -> str:
    """A line that does not wrap; escape sequences stand only at its start."""
    head = _DIM if line.startswith(_DIM) else ""
    return head + line[len(head) :][: max(1, width - 1)]
