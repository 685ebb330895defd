"""How steps, sizes, times and results read, wherever they are shown. Pure."""

from __future__ import annotations

from pybuild.builder.events import Finished, StepStarted

_UNITS = ("B", "kB", "MB", "GB", "TB")
_LONGEST_ERROR = 200
# The control characters of ASCII and of ISO 6429, but for the tab.
_CONTROLS = dict.fromkeys((*range(9), *range(10, 32), *range(127, 160)), "�")


def size(count: float) -> str:
    """Bytes as docker prints them: 12.3MB, of 1000."""
    for unit in _UNITS:
        if count < 1000 or unit == _UNITS[-1]:
            return f"{count:.4g}{unit}" if unit != "B" else f"{count:.0f}B"
        count /= 1000
    raise AssertionError


def seconds(count: float) -> str:
    """A duration: 0.4s, 83s."""
    return f"{count:.1f}s"


def place(step: StepStarted) -> str:
    """Where in the build a step is: [build 2/5]."""
    return f"[{step.stage + ' ' if step.stage else ''}{step.number}/{step.total}]"


def result(event: Finished) -> str:
    """What a finished build says."""
    named = f" {', '.join(event.names)}" if event.names else ""
    twice = ", twice, and it was the same both times" if event.came_twice else ""
    return f"built{named} {event.image_id[7:19]} in {event.seconds:.2f}s{twice}"


def printable(text: str) -> str:
    """Text without control characters, which could drive the terminal."""
    return "".join(
        character if character.isprintable() else " " if character == "\t" else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def harmless(line: str) -> str:
    """A line of a command's output, to be shown anywhere: colours stay, other escape sequences go.

    Of a line that was written over, as by a bar that grows, what is there in the end. Source: ECMA-48.
    """
    line = line.rstrip("\r").rpartition("\r")[2]
    if "\x1b" not in line:
        return line.translate(_CONTROLS)
    import re

    # Control sequences, strings up to their end, and the short ones of two characters.
    sequence = "(\x1b(?:\\[[0-?]*[ -/]*[@-~]|[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[ -/]*[0-~])?)"
    parts = re.split(sequence, line)
    colours = [part if re.fullmatch("\x1b\\[[0-9;:]*m", part) else "" for part in parts[1::2]]
    texts = [part.translate(_CONTROLS) for part in parts[::2]]
    shown = "".join(text + colour for text, colour in zip(texts, (*colours, ""), strict=True))
    return f"{shown}\x1b[0m" if any(colours) else shown


def first_line(text: str) -> str:
    """An error on one line, not too long."""
    return text.split("\n", 1)[0][:_LONGEST_ERROR]
