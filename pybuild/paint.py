"""Colours of a terminal, or none. Pure."""

from __future__ import annotations

GREEN, BLUE, RED, YELLOW, DIM, BOLD, _PLAIN = (f"\x1b[{code}m" for code in ("32", "34", "31", "33", "2", "1", "0"))


class Paint:
    """Colours texts, if that is wanted."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def __call__(self, code: str, text: str) -> str:
        return f"{code}{text}{_PLAIN}" if self._colour and text else text
