"""The options of `build` that RUN is given things by: how each is read. A value that makes no sense is a ValueError."""

from __future__ import annotations

import os

from pybuild.builder.planning.entitlements import ENTITLEMENTS
from pybuild.builder.request import Limit, SecretSource
from pybuild.values import natural

_LIMITS = (
    *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio"),
    *("rttime", "sigpending", "stack"),
)
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}

Values = tuple[str, ...]


def entitlements(values: Values) -> Values:
    """`security.insecure` and `network.host`."""
    for value in values:
        if value not in ENTITLEMENTS:
            raise ValueError(f"there is no entitlement {value!r}; there are {' and '.join(ENTITLEMENTS)}")
    return values


def secrets(values: Values) -> tuple[SecretSource, ...]:
    """`id=ID[,src=FILE|,env=VARIABLE]`; an id alone is a variable of this name, or a file. Source: buildx, build/secrets."""
    return tuple(_secret(value) for value in values)


def _secret(value: str) -> SecretSource:
    fields = {}
    for part in value.split(","):
        key, equals, text = part.partition("=")
        if not equals or key.lower() not in ("type", "id", "source", "src", "env"):
            raise ValueError(f"{value!r}: write id=ID,src=FILE or id=ID,env=VARIABLE")
        fields[{"source": "src"}.get(key.lower(), key.lower())] = text
    name, file, variable = fields.get("id"), fields.get("src"), fields.get("env")
    if not name:
        raise ValueError(f"{value!r} has no id")
    if fields.get("type", "file") not in ("file", "env"):
        raise ValueError(f"{value!r}: the type is file or env")
    if fields.get("type") == "env" and variable is None:
        file, variable = None, file or name
    if file is None and variable is None:
        file, variable = (None, name) if name in os.environ else (name, None)
    return SecretSource(name, file, variable)


def agents(values: Values) -> dict[str, Values]:
    """`default`, or `ID=SOCKET` or `ID=KEY[,KEY]`."""
    found = {}
    for value in values:
        name, equals, rest = value.partition("=")
        paths = tuple(path for path in rest.split(",") if path)
        if not name or (equals and not paths):
            raise ValueError(f"{value!r}: write default, or ID=SOCKET or ID=KEYFILE")
        found[name] = paths
    return found


def hosts(values: Values) -> tuple[tuple[str, str], ...]:
    """`NAME:ADDRESS` or `NAME=ADDRESS`; brackets around IPv6 are dropped."""
    found = []
    for value in values:
        import ipaddress

        name, mark, address = value.partition("=" if "=" in value else ":")
        address = address.removeprefix("[").removesuffix("]")
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise ValueError(f"{value!r}: write NAME:ADDRESS") from None
        if not name or not mark or set(name) & set(" \t\n"):
            raise ValueError(f"{value!r}: write NAME:ADDRESS")
        found.append((name, address))
    return tuple(found)


def size(values: Values) -> int | None:
    """Bytes, or a number with k, m or g behind it."""
    if not values:
        return None
    text = values[-1].lower().removesuffix("b")
    digits, unit = (text[:-1], text[-1]) if text[-1:] in ("k", "m", "g") else (text, "")
    number = natural(digits)
    if number is None:
        raise ValueError(f"{values[-1]!r} is no size; write 64m or 1g")
    return number * _UNITS[unit]


def limits(values: Values) -> tuple[Limit, ...]:
    """`NAME=SOFT[:HARD]`; -1 is no limit."""
    found = {}
    for value in values:
        name, _, rest = value.partition("=")
        soft, _, hard = rest.partition(":")
        if name not in _LIMITS:
            raise ValueError(f"there is no limit {name!r}; there are {', '.join(_LIMITS)}")
        try:
            low, high = int(soft), int(hard or soft)
        except ValueError:
            raise ValueError(f"{value!r}: write {name}=SOFT:HARD") from None
        if low < -1 or high < -1 or (high != -1 and (low > high or low == -1)):
            raise ValueError(f"{value!r}: the soft limit is at most the hard one")
        found[name] = Limit(name, low, high)
    return tuple(found.values())


def processors(values: Values) -> float | None:
    """Processors' worth of time: a number above 0, such as 1.5."""
    if not values:
        return None
    try:
        number = float(values[-1])
    except ValueError:
        number = 0.0
    if not 0 < number < 1e6:
        raise ValueError(f"{values[-1]!r} is no number of processors; write 1.5")
    return number


def processes(values: Values) -> int | None:
    """A number of processes above 0."""
    if not values:
        return None
    number = natural(values[-1])
    if not number:
        raise ValueError(f"{values[-1]!r} is no number of processes")
    return number
