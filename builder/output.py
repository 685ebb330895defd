"""What a command has written, as it may be shown on a terminal. Pure."""

from __future__ import annotations

_COLOUR = "\x1b\\[[0-9;:]*m"
# The control characters of ASCII and of ISO 6429, but for the tab.
_CONTROLS = dict.fromkeys((*range(9), *range(10, 32), *range(127, 160)), "�")


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
    colours = [part if re.fullmatch(_COLOUR, part) else "" for part in parts[1::2]]
    texts = [part.translate(_CONTROLS) for part in parts[::2]]
    shown = "".join(text + colour for text, colour in zip(texts, (*colours, ""), strict=True))
    return f"{shown}\x1b[0m" if any(colours) else shown


def colourless(line: str) -> str:
    """A line as `harmless` has it, and without colours: one that can be cut anywhere."""
    shown = harmless(line)
    if "\x1b" not in shown:
        return shown
    import re

    return re.sub(_COLOUR, "", shown)
