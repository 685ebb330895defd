"""Sizes and moments as people write them on a command line. Pure but for the clock, which is an argument."""

from __future__ import annotations

import re
from calendar import timegm
from time import strptime

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kmgt]?)(i?)b?", re.IGNORECASE)
_MOST_DIGITS = 30
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhdw])")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_FORMS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d")


def read_size(text: str) -> int:
    """Bytes out of `10GB`, `512MiB` or `1000`. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or len(match[1]) > _MOST_DIGITS:
        raise ValueError(f"{text!r} is not a size; write 10GB, 512MiB or a number of bytes")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2].lower()])


def read_moment(text: str, now: float) -> float:
    """Seconds since 1970 out of a duration before `now` (`24h`, `1h30m`, `7d`), a date, or a time (RFC 3339, UTC).

    Raises ValueError.
    """
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return now - sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if text.isascii() and text.isdigit():
        return float(text)
    for form in _FORMS:
        try:
            return float(timegm(strptime(text.removesuffix("Z"), form)))
        except ValueError:
            continue
    raise ValueError(f"{text!r} is neither a duration nor a time; write 24h, 7d, 2026-01-31 or 2026-01-31T12:00:00Z")
