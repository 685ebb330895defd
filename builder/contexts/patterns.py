"""Go's `filepath.Match`, as regular expressions: `*`, `?`, `[a-z]`, `[^a-z]`, `\\x`; optionally `**`. Pure."""

from __future__ import annotations

import re

_SPECIAL = "*?["


def is_pattern(text: str) -> bool:
    """Whether a path has a character that `filepath.Match` treats specially, with no backslash before it."""
    position = 0
    while position < len(text):
        if text[position] in _SPECIAL:
            return True
        position += 2 if text[position] == "\\" else 1
    return False


def translate(pattern: str, *, double_star: bool = False) -> str:
    """The regular expression for a pattern, without an anchor. Raises ValueError for one that is malformed."""
    parts = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            if double_star and pattern.startswith("*", position):
                text, position = _double_star(pattern, position + 1)
                parts.append(text)
            else:
                parts.append("[^/]*")
        elif character == "?":
            parts.append("[^/]")
        elif character == "[":
            text, position = _character_class(pattern, position)
            parts.append(text)
        elif character == "\\":
            if position == len(pattern):
                raise ValueError("a pattern ends in a backslash")
            parts.append(re.escape(pattern[position]))
            position += 1
        else:
            parts.append(re.escape(character))
    return "".join(parts)


def _double_star(pattern: str, position: int) -> tuple[str, int]:
    """What `**` means that ends before `position`: whole directories, unless nothing but plain text is around it.

    Source: moby/patternmatcher, where `**.txt` is any end of a path, and `a**b` is `ab` or `a`, directories, `b`.
    """
    if pattern.startswith("/", position):
        position += 1
    elif position == 2 and not any(character in pattern[2:] for character in "*?[]\\"):
        return ".*", position
    return (".*" if position == len(pattern) else "(?:.*/)?"), position


def _character_class(pattern: str, position: int) -> tuple[str, int]:
    negated = pattern.startswith("^", position)
    position += negated
    ranges: list[tuple[str, str]] = []
    while not (pattern.startswith("]", position) and ranges):
        low, position = _class_character(pattern, position)
        high = low
        if pattern.startswith("-", position):
            high, position = _class_character(pattern, position + 1)
        ranges.append((low, high))
    # Go accepts a range that runs backwards; it matches nothing, where Python refuses it.
    inner = "".join(f"{re.escape(low)}-{re.escape(high)}" for low, high in ranges if low <= high)
    if not inner:
        return ("[^/]" if negated else "(?!)"), position + 1
    return (f"(?!/)[^{inner}]" if negated else f"(?!/)[{inner}]"), position + 1


def _class_character(pattern: str, position: int) -> tuple[str, int]:
    if position >= len(pattern) or pattern[position] in "-]":
        raise ValueError("a pattern has a malformed '['")
    if pattern[position] == "\\":
        position += 1
        if position >= len(pattern):
            raise ValueError("a pattern ends in a backslash")
    return pattern[position], position + 1
