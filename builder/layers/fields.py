"""What stands in a tar's headers: numbers, times, owners, names, pax records. Anything that is none is a LayerError."""

from __future__ import annotations

import os

from pybuild.builder.errors import LayerError
from pybuild.builder.layers.tar import SECOND

_LONGEST_PATH = 4096
LARGEST = (1 << 63) - 1
_NO_OWNER = (1 << 32) - 1


def damaged(what: str) -> LayerError:
    """The error of an archive that is not as it should be."""
    return LayerError(f"the archive is damaged: {what}")


def number(field: bytes) -> int:
    """An octal field, or GNU's base-256 one. Raises LayerError."""
    if field[0] >= 0x80:
        value = int.from_bytes(field, "big") & ~(1 << (8 * len(field) - 1))
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    try:
        return int(field.partition(b"\0")[0] or b"0", 8)
    except ValueError:
        pass
    if not field.strip(b" \0"):
        return 0
    raise damaged("a header has a number that is none") from None


def integer(text: bytes) -> int:
    """A number of a pax record, not negative. Raises LayerError."""
    if not text.isdigit() or len(text) > 19 or (value := int(text)) > LARGEST:
        raise damaged("a pax header has a number that is none")
    return value


def time(text: bytes) -> int:
    """Nanoseconds since 1970, no more than 64 bits hold. Raises LayerError."""
    whole, _, fraction = text[:40].decode("ascii", "replace").partition(".")
    try:
        nanoseconds = int((fraction + "000000000")[:9]) if fraction else 0
        return bounded(int(whole) * SECOND + (-nanoseconds if whole.startswith("-") else nanoseconds))
    except ValueError:
        raise damaged("a header has a time that is none") from None


def owner(identity: int) -> int:
    """A user or group. A negative one is the kernel's unsigned form of it, as `nobody` is -2 on some systems."""
    unsigned = identity + (1 << 32) if -(1 << 31) <= identity < 0 else identity
    if not 0 <= unsigned < _NO_OWNER:
        raise damaged(f"no owner has the number {identity}")
    return unsigned


def bounded(nanoseconds: int) -> int:
    """The time that is nearest to this one among those that 64 bits hold."""
    return min(max(nanoseconds, -LARGEST), LARGEST)


def text(raw: bytes) -> str:
    """A path or a link. Raises LayerError for what no file can be called."""
    if len(raw) > _LONGEST_PATH or b"\0" in raw:
        raise LayerError(f"{os.fsdecode(raw[:100])!r}: no file can have this name", hint="the archive is not to be trusted")
    return os.fsdecode(raw)


def records(body: bytes) -> dict[str, bytes]:
    """The records of a pax header; the last one of a name counts. Raises LayerError."""
    found = {}
    position = 0
    while position < len(body):
        blank = body.find(b" ", position)
        try:
            length = int(body[position:blank])
            key, equals, value = body[blank + 1 : position + length - 1].partition(b"=")
        except ValueError:
            length = 0
            equals = b""
        if length <= 0 or not equals or position + length > len(body):
            raise damaged("a pax header has no records")
        if b"\0" in key:
            raise damaged("a pax header has a name with a NUL in it")
        found[os.fsdecode(key)] = value
        position += length
    return found
