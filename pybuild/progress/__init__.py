"""How a build is shown: one module for each way, chosen by `--progress`."""

from __future__ import annotations

from pybuild.builder.events import Progress
from pybuild.hints import TextIO

MODES = ("auto", "plain", "tty", "quiet", "json", "rawjson")


def open_progress(mode: str, stream: TextIO) -> Progress:
    """The display for a mode; `auto` is a live one on a terminal, and plain lines elsewhere."""
    from pybuild.colours import has_colour, is_live

    if mode == "quiet":
        from pybuild.progress.quiet import Quiet

        return Quiet(stream)
    if mode in ("json", "rawjson"):
        from pybuild.progress.jsonlines import JsonLines

        return JsonLines(stream)
    if mode == "tty" or (mode == "auto" and is_live(stream)):
        from pybuild.progress.terminal import Terminal

        return Terminal(stream, has_colour=has_colour(stream))
    from pybuild.progress.plain import Plain

    return Plain(stream)
