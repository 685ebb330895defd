"""How steps, sizes, times and results read, wherever they are shown. Pure."""

from __future__ import annotations

from pybuild.builder.events import Finished, StepStarted

_UNITS = ("B", "kB", "MB", "GB", "TB")
_LONGEST_ERROR = 200


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


def shortened(text: str, width: int) -> str:
    """Text of so many characters at most."""
    return text if len(text) <= width else text[: width - 1] + "…"


def printable_lines(text: str) -> str:
    """The same for text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def first_line(text: str) -> str:
    """An error on one line, not too long."""
    return text.split("\n", 1)[0][:_LONGEST_ERROR]
