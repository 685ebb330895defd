"""What a stream may be given beside text: nothing, a view that is drawn over, colours."""

from __future__ import annotations

import os

from pybuild.hints import TextIO


def is_live(stream: TextIO) -> bool:
    """Whether a stream is a terminal whose cursor can be moved."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def has_colour(stream: TextIO) -> bool:
    """Whether a stream shows colours, and the user wants them. Source: no-color.org."""
    return is_live(stream) and not os.environ.get("NO_COLOR")
