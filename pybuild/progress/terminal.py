"""A live view for a terminal: finished steps scroll away, what is at work stays at the bottom with clocks and bars.

Plain escape sequences, no library and no thread: the view is drawn anew when an event comes, at most 20 times a second.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

from pybuild.builder.events import CANCELED, Event, Finished, Notice, StepFinished, StepOutput, StepStarted
from pybuild.builder.output import colourless
from pybuild.hints import TextIO
from pybuild.progress import text
from pybuild.registry.progress import Transferred

_PAUSE_SECONDS = 0.05
_OUTPUT_LINES = 5
_MOST_TRANSFERS = 6
_BAR = 24
_GREEN, _RED, _BLUE, _DIM, _YELLOW, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[34m", "\x1b[2m", "\x1b[33m", "\x1b[0m"
_WIDE = ("W", "F")


class Terminal:
    """Draws on a terminal."""

    def __init__(self, stream: TextIO, *, has_colour: bool = True) -> None:
        self._stream = stream
        self._has_colour = has_colour
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
                self._print(f"{self._painted(_YELLOW, 'warning:')} {text.printable_lines(event.message)}")
                return
            case Finished():
                self._transfers.clear()
                self._print(f"{self._painted(_GREEN, '✓')} {text.result(event)}")
                return
        if time.monotonic() - self._last >= _PAUSE_SECONDS:
            self._draw()

    def _finished(self, event: StepFinished) -> None:
        step, _ = self._running.pop(event.step)
        self._output.pop(event.step, None)
        what = f"{text.place(step)} {text.printable(step.name)}"
        if event.error == CANCELED:
            self._print(self._painted(_DIM, f"- CANCELED {what}"))
        elif event.error is not None:
            self._print(f"{self._painted(_RED, '✗')} {what}")
        elif event.is_cached:
            self._print(f"{self._painted(_BLUE, '✓ CACHED')} {self._painted(_DIM, what)}")
        else:
            self._print(f"{self._painted(_BLUE, '✓')} {what} {self._painted(_DIM, text.seconds(event.seconds))}")

    def _transferred(self, event: Transferred) -> None:
        if event.action in ("mounted", "exists") or event.done >= event.total:
            self._transfers.pop(event.name, None)
            said = {"mounted": "mounted", "exists": "already there"}.get(
                event.action, f"{event.action}ed {text.size(event.total)}"
            )
            self._print(f"  {event.name} {self._painted(_DIM, said)}")
        else:
            self._transfers[event.name] = event

    def _painted(self, colour: str, words: str) -> str:
        return f"{colour}{words}{_PLAIN}" if self._has_colour else words

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
        lines = [self._painted(colour, _cut(line, width)) for colour, line in self._lines()]
        if lines:
            self._stream.write("".join(f"{line}\n" for line in lines))
        self._drawn = len(lines)
        self._stream.flush()
        self._last = time.monotonic()

    def _lines(self) -> Iterator[tuple[str, str]]:
        """The lines of what is at work, each with its colour."""
        now = time.monotonic()
        for number, (step, started) in self._running.items():
            yield "", f"> {text.place(step)} {text.printable(step.name)} {text.seconds(now - started)}"
            shown = self._output.get(number, bytearray()).decode("utf-8", "replace").rstrip("\n").split("\n")[-_OUTPUT_LINES:]
            yield from ((_DIM, f"  │ {text.printable(colourless(line))}") for line in shown if line)
        for event in list(self._transfers.values())[:_MOST_TRANSFERS]:
            filled = _BAR * event.done // max(event.total, 1)
            bar = "█" * filled + "░" * (_BAR - filled)
            yield "", f"  {event.name} {event.action} {bar} {text.size(event.done)} / {text.size(event.total)}"


def _cut(line: str, width: int) -> str:
    """A line that does not wrap, of text alone."""
    most = max(1, width - 1)
    if line.isascii():
        return line[:most]
    from unicodedata import east_asian_width

    # What is wrapped takes a row more than is counted, and the next drawing leaves it standing.
    taken = 0
    for place, character in enumerate(line):
        taken += 2 if east_asian_width(character) in _WIDE else 1
        if taken > most:
            return line[:place]
    return line
