"""Durations as Go writes them: `1h30m`, `1.5s`, `0`. Pure."""

from __future__ import annotations

import re

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"([0-9]*)(?:(\.)([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
_LONGEST = (1 << 63) - 1


def nanoseconds(text: str) -> int:
    """A duration in nanoseconds. Raises ValueError. Source: Go, time.ParseDuration."""
    unsigned = text[1:] if text[:1] in ("+", "-") else text
    if unsigned == "0":
        return 0
    total = position = 0
    while position < len(unsigned) or not position:
        match = _PART.match(unsigned, position)
        if match is None or not (match[1] or match[3]) or len(match[1].lstrip("0")) > 19:
            raise ValueError(f"not a duration: {text!r}")
        unit = _UNITS[match[4]]
        total += int(match[1] or "0") * unit + _part(match[3] or "", unit)
        position = match.end()
    if total > _LONGEST + (text[0] == "-"):
        raise ValueError(f"not a duration: {text!r}")
    return -total if text[0] == "-" else total


def _part(digits: str, unit: int) -> int:
    """A fraction of a unit as Go has it: in floating point, cut off, of as many digits as an int64 takes."""
    value, scale = 0, 1.0
    for digit in digits:
        if value > _LONGEST // 10 or value * 10 + int(digit) > _LONGEST + 1:
            break
        value, scale = value * 10 + int(digit), scale * 10
    return int(value * (unit / scale))
