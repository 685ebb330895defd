"""How Go writes lists, texts, durations and health checks: the history has them so, whoever builds. Pure.

Source: BuildKit's dockerfile2llb, and Go's packages fmt, strconv and time.
"""

from __future__ import annotations

from pybuild.registry.config import Healthcheck

_ESCAPES = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v", '"': r"\"", "\\": r"\\"}
_UNITS = {"ns": 1, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}


def quoted(words: tuple[str, ...]) -> str:
    """A list as `%q` writes it: `["a" "b"]`."""
    return "[" + " ".join('"' + "".join(map(_escaped, word)) + '"' for word in words) + "]"


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    number = ord(character)
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def healthcheck(health: Healthcheck) -> str:
    """A health check as `%+v` writes it."""
    times = (("Interval", health.interval), ("Timeout", health.timeout), ("StartPeriod", health.start_period))
    shown = " ".join(f"{name}:{duration(value)}" for name, value in (*times, ("StartInterval", health.start_interval)))
    return f"{{Test:[{' '.join(health.test)}] {shown} Retries:{health.retries}}}"


def duration(nanoseconds: int) -> str:
    """A time of at least 0 as Go writes it: `1m30s`, `1.5s`, `100ms`."""
    if nanoseconds == 0:
        return "0s"
    for unit in ("ns", "µs", "ms"):
        if nanoseconds < _UNITS[unit] * 1000:
            return f"{_decimal(nanoseconds, _UNITS[unit])}{unit}"
    minutes, rest = divmod(nanoseconds, _UNITS["m"])
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{head}{_decimal(rest, _UNITS['s'])}s"


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    fraction = str(rest).rjust(len(str(unit)) - 1, "0").rstrip("0") if rest else ""
    return f"{whole}.{fraction}" if fraction else str(whole)
